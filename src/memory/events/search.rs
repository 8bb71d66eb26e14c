//! Search by embedding.
//!
//! A search goes over int8 embeddings in memory, then compares those that may belong to the best with their floats from
//! the disk: the cosines are those of the floats, and so is the order (see `Best` for the one limit). The embeddings of a
//! time are loaded when a search first asks about it. What does not fit into `search_bytes` is read by each search that
//! goes so far back.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};

use super::best::Best;
use super::matrix::{Batch, CHUNK, Mark, Matrix, Want, dot, scan_batch};
use super::read::{EventFilter, floats, number};
use super::write::signed;

/// After this time without a search the embeddings leave the memory.
const IDLE: Duration = Duration::from_secs(600);
/// Events that are noted for the matrix between two searches. After more it is dropped, and loaded again when needed.
const MOST_NEWS: usize = 4 * CHUNK;

/// What searches share.
pub(super) struct Search {
    most_bytes: u64,
    matrix: Mutex<Option<Matrix>>,
    news: Mutex<News>,
}

/// What happened since the last search, for a matrix that is in memory.
#[derive(Default)]
struct News {
    /// When the last search was; `None` where there is no matrix.
    searched: Option<Instant>,
    added: Vec<(i64, Mark, std::sync::Arc<[f32]>)>,
    dropped: Vec<u64>,
}

impl Search {
    pub(super) fn new(most_bytes: u64) -> Self {
        Self { most_bytes, matrix: Mutex::new(None), news: Mutex::default() }
    }

    /// An embedding was stored.
    pub(super) fn added(&self, bundle: i64, mark: Mark, floats: &std::sync::Arc<[f32]>) {
        let mut news = lock(&self.news);
        if news.searched.is_some() {
            news.added.push((bundle, mark, floats.clone()));
        }
        self.cool(news);
    }

    /// Events were dropped.
    pub(super) fn dropped(&self, ids: &[u64]) {
        let mut news = lock(&self.news);
        if news.searched.is_some() {
            news.dropped.extend(ids);
        }
        self.cool(news);
    }

    /// Drops the matrix where it was not used for long.
    pub(super) fn rest(&self) {
        self.cool(lock(&self.news));
    }

    /// Drops the matrix: the file was replaced.
    pub(super) fn forget_all(&self) {
        let mut matrix = lock(&self.matrix);
        *lock(&self.news) = News::default();
        *matrix = None;
    }

    fn cool(&self, mut news: MutexGuard<'_, News>) {
        let idle = news.searched.is_some_and(|at| at.elapsed() > IDLE);
        if !idle && news.added.len() <= MOST_NEWS && news.dropped.len() <= 64 * MOST_NEWS {
            return;
        }
        // A search that is under way holds the matrix: the next one finds no news, and starts anew.
        match self.matrix.try_lock() {
            Ok(mut matrix) => *matrix = None,
            Err(TryLockError::Poisoned(poison)) => *poison.into_inner() = None,
            Err(TryLockError::WouldBlock) => {}
        }
        *news = News::default();
    }

    /// Messages and cosines of the best, best first.
    pub(super) fn find(
        &self,
        conn: &Connection,
        query: &[f32],
        bundle: &str,
        filter: &EventFilter,
        top: usize,
    ) -> rusqlite::Result<Vec<(String, f32)>> {
        if top == 0 || query.is_empty() || !query.iter().all(|value| value.is_finite()) {
            return Ok(Vec::new());
        }
        let Some(bundle) = number(conn, bundle)? else { return Ok(Vec::new()) };
        let mut want =
            Want { since_ms: filter.since_ms.unwrap_or(0), before: filter.before.map(|id| id.0), ..Want::default() };
        for (name, wanted) in [(&filter.trigger, &mut want.trigger), (&filter.camera, &mut want.camera)] {
            if let Some(name) = name {
                let Some(number) = number(conn, name)? else { return Ok(Vec::new()) };
                *wanted = Some(number as u32);
            }
        }
        let mut best = Best::new(top);
        {
            let mut matrix = lock(&self.matrix);
            let matrix = self.current(&mut matrix, bundle, query.len());
            self.load(conn, matrix, &want)?;
            matrix.scan(query, &want, &mut best);
            if matrix.from > want.least_id() {
                let older = Older { bundle, width: query.len(), before: matrix.from, least: want.least_id() };
                older.read(conn, |batch| {
                    scan_batch(batch, query, &want, &mut best);
                    batch.clear();
                    true
                })?;
            }
        }
        compare(conn, query, best.finish(), top)
    }

    /// The matrix with all news in it.
    fn current<'a>(&self, matrix: &'a mut Option<Matrix>, bundle: i64, width: usize) -> &'a mut Matrix {
        let News { searched, added, dropped } =
            std::mem::replace(&mut *lock(&self.news), News { searched: Some(Instant::now()), ..News::default() });
        if searched.is_none() || matrix.as_ref().is_none_or(|old| old.bundle != bundle || old.width != width) {
            *matrix = None;
        }
        let matrix = matrix.get_or_insert_with(|| Matrix::new(bundle, width));
        for (of, mark, floats) in added {
            if of == bundle {
                matrix.newer(mark, &floats);
            }
        }
        if !dropped.is_empty() {
            let mut dropped = dropped;
            dropped.sort_unstable();
            matrix.forget(&dropped);
        }
        matrix
    }

    /// Loads what is wanted and not there yet, newest first, as far as it fits.
    fn load(&self, conn: &Connection, matrix: &mut Matrix, want: &Want) -> rusqlite::Result<()> {
        let (bundle, width, before, least) = (matrix.bundle, matrix.width, matrix.from, want.least_id());
        let fits = |matrix: &Matrix| matrix.bytes() + (CHUNK * Matrix::bytes_each(width)) as u64 <= self.most_bytes;
        if before <= least || !fits(matrix) {
            return Ok(());
        }
        let all = Older { bundle, width, before, least }.read(conn, |batch| {
            matrix.older(batch);
            fits(matrix)
        })?;
        if all {
            matrix.from = least;
        }
        Ok(())
    }
}

/// Embeddings of a bundle in a range of ids.
struct Older {
    bundle: i64,
    width: usize,
    before: u64,
    least: u64,
}

impl Older {
    /// Calls `each` with up to [`CHUNK`] embeddings, newest first, which empties the batch and says whether to go on.
    /// Returns whether the end was reached.
    fn read(&self, conn: &Connection, mut each: impl FnMut(&mut Batch) -> bool) -> rusqlite::Result<bool> {
        let mut statement = conn.prepare_cached(
            "SELECT id, began_ms, trigger, camera, floats FROM embeddings \
             WHERE id >= ?1 AND id < ?2 AND bundle = ?3 ORDER BY id DESC",
        )?;
        let mut rows = statement.query(params![signed(self.least), signed(self.before), self.bundle])?;
        let mut batch = Batch::default();
        while let Some(row) = rows.next()? {
            let blob = row.get_ref(4)?.as_blob()?;
            if blob.len() != 4 * self.width {
                continue;
            }
            let number = |column: usize| row.get::<_, i64>(column);
            batch.marks.push(Mark {
                id: number(0)? as u64,
                began_ms: number(1)? as u64,
                trigger: number(2)? as u32,
                camera: number(3)? as u32,
            });
            batch.floats.extend(floats(blob));
            if batch.marks.len() == CHUNK && !each(&mut batch) {
                return Ok(false);
            }
        }
        if !batch.marks.is_empty() {
            each(&mut batch);
        }
        Ok(true)
    }
}

/// The cosines of the candidates from their floats on the disk, best first, and the messages of the best `top`.
fn compare(conn: &Connection, query: &[f32], ids: Vec<u64>, top: usize) -> rusqlite::Result<Vec<(String, f32)>> {
    let mut statement = conn.prepare_cached("SELECT floats FROM embeddings WHERE id = ?1")?;
    let mut scored = Vec::with_capacity(ids.len());
    let mut values = Vec::with_capacity(query.len());
    for id in ids {
        let cosine = statement
            .query_row([signed(id)], |row| {
                values.clear();
                values.extend(floats(row.get_ref(0)?.as_blob()?));
                Ok(dot(query, &values))
            })
            .optional()?;
        scored.extend(cosine.map(|cosine| (id, cosine)));
    }
    scored.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
    let mut statement = conn.prepare_cached("SELECT message FROM events WHERE id = ?1")?;
    let mut found = Vec::with_capacity(top.min(scored.len()));
    for (id, cosine) in scored {
        if found.len() == top {
            break;
        }
        let message: Option<String> = statement.query_row([signed(id)], |row| row.get(0)).optional()?;
        found.extend(message.map(|message| (message, cosine)));
    }
    Ok(found)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

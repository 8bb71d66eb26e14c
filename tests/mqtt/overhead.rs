//! How long a question takes over MQTT, the answer itself left out. Prints; asserts nothing about time:
//! `cargo test --release --no-default-features --features mqtt --test mqtt overhead -- --ignored --nocapture`

use std::sync::Arc;
use std::time::Instant;

use crate::peers::*;

#[test]
#[ignore = "a measurement, for a machine that does nothing else"]
fn question_to_answer() {
    for nodelay in [false, true] {
        let broker = Broker::with(|_, port| {
            format!("listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay {nodelay}\n")
        });
        let link = start(&config(broker.port), &desk(&[]), &Arc::new(MemoryOutbox::default()));
        until_up(&*link);
        let asker = Client::reads(broker.port, "asker", &["lookout/porch/answer"]);
        for (name, once) in [("QoS 0", Client::fires as fn(&Client, &str, &'static str)), ("QoS 1", Client::writes)] {
            let mut ms: Vec<f64> = (0..1_000)
                .map(|_| {
                    let begin = Instant::now();
                    once(&asker, "lookout/porch/ask", r#"{"task": "check", "sentence": "a dog runs"}"#);
                    asker.waits_for("lookout/porch/answer", |_| true);
                    begin.elapsed().as_secs_f64() * 1e3
                })
                .collect();
            ms.sort_by(f64::total_cmp);
            let (median, p95, most) = (ms[500], ms[950], ms[999]);
            println!("set_tcp_nodelay {nodelay}, {name}: median {median:.2} ms, p95 {p95:.2} ms, most {most:.2} ms");
        }
        stop(link);
    }
}

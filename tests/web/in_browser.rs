//! The page in a real browser: clicked, typed into, dragged, and told of an event.

use std::path::Path;
use std::time::Duration;

use crate::browser::Browser;
use crate::common::{Served, TOKEN, wait};
use lookout::picture::Picture;
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3_600);

/// A page that shows its first status and picture.
fn opened(served: &Served, width: u32, height: u32) -> Browser {
    let mut browser = Browser::start();
    browser.size(width, height, width < 600);
    browser.open(&served.url("/"));
    browser.until("document.querySelector('#device')?.textContent === 'porch-pi'");
    browser
        .until("!document.querySelector('#picture').hidden && document.querySelector('#picture').naturalWidth === 768");
    browser.until("document.querySelectorAll('.trigger .meter').length === 3");
    browser.until("document.querySelector('#timeline').getAttribute('aria-busy') === 'false'");
    browser
}

fn quiet(served: &Served, browser: &Browser) {
    assert!(browser.complaints.is_empty(), "the console said: {:#?}", browser.complaints);
    let own = served.url("/");
    let elsewhere: Vec<&String> = browser
        .requests
        .iter()
        .filter(|url| !url.starts_with(&own) && !url.starts_with("about:") && !url.starts_with("blob:"))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    assert!(browser.requests.len() > 10, "{:?}", browser.requests);
}

/// Written beside the build, to be looked at.
fn keep(name: &str, png: &[u8]) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), png).unwrap();
}

#[test]
fn an_event_appears_by_itself_with_its_picture_caption_and_box() {
    let served = Served::open();
    let mut browser = opened(&served, 1280, 900);
    browser.until("document.querySelector('#no-events').textContent.startsWith('Nothing has happened yet')");
    let old = served.desk.begin("parcel", "a brown box lies at the door", HOUR * 30);
    browser.until(&format!("document.querySelector('.event')?.dataset.id === '{old}'"));
    served.desk.score("dog", 0.81);
    let id = served.desk.begin("dog", "a dog sits on the porch", Duration::ZERO);
    browser.until(&format!("document.querySelector('.event').dataset.id === '{id}'"));
    let card = format!("document.querySelector('.event[data-id=\"{id}\"]')");
    browser.until(&format!("{card}?.classList.contains('on')"));
    browser.until(&format!("{card}.querySelector('img').naturalWidth === 768"));
    assert_eq!(browser.eval(&format!("{card}.querySelector('.words').textContent")), "a dog sits on the porch");
    browser.until("document.querySelector('#boxes .box span')?.textContent === 'dog 58 %'");
    browser.until("document.querySelector('#caption').textContent.includes('a dog sits on the porch')");
    browser.until("document.querySelector('.trigger[data-name=dog]').classList.contains('on')");
    // The box lies over the picture where the dog is: 125 to 315 of 768, 210 to 540 of 576.
    let at = browser.eval(
        "(() => { const b = document.querySelector('#boxes .box').getBoundingClientRect(), \
         p = document.querySelector('#picture').getBoundingClientRect(); \
         return [(b.left - p.left) / p.width * 768, (b.top - p.top) / p.height * 576, b.width / p.width * 768] })()",
    );
    let at: Vec<f64> = serde_json::from_value(at).unwrap();
    for (is, should) in at.iter().zip([125.0, 210.0, 190.0]) {
        assert!((is - should).abs() < 2.0, "{at:?}");
    }
    served.desk.end(id, Duration::from_secs(12));
    browser.until(&format!("{card}.querySelector('time').textContent.endsWith('12 s')"));
    browser.until("document.querySelectorAll('#boxes .box').length === 0");
    quiet(&served, &browser);
}

#[test]
fn a_threshold_is_dragged_while_the_score_is_live() {
    let served = Served::open();
    let mut browser = opened(&served, 1280, 900);
    let row = ".trigger[data-name=dog]";
    served.desk.score("dog", 0.64);
    browser.until(&format!("document.querySelector('{row} .meter span').textContent === '64 %'"));
    let [left, top, width, height] = browser.rectangle(&format!("{row} .bars"));
    let point = |part: f64| (left + width * part, top + height / 2.0);
    browser.drag(point(0.5), point(0.72));
    let threshold = wait("the threshold is set", || {
        served.desk.trigger("dog").map(|trigger| trigger.threshold).filter(|threshold| *threshold != 0.5)
    });
    assert!((threshold - 0.72).abs() < 0.015, "{threshold}");
    let kept = served.desk.trigger("dog").unwrap();
    assert_eq!((kept.unless, kept.ground.as_deref()), (vec!["a toy".to_owned()], Some("a dog")), "the rest stays");
    browser.until(&format!("document.querySelector('{row} output').textContent.startsWith('7')"));
    // And by the keyboard, as everything here.
    browser.eval(&format!("document.querySelector('{row} input[type=range]').focus()"));
    browser.key("ArrowRight", 39);
    wait("the arrow key moved it", || (served.desk.trigger("dog")?.threshold > threshold).then_some(()));
    quiet(&served, &browser);
}

#[test]
fn triggers_are_added_changed_and_deleted_and_refusals_are_shown() {
    let served = Served::open();
    let mut browser = opened(&served, 1280, 900);
    browser.click("#add");
    for (field, text) in [
        ("name", "cat"),
        ("when", "a cat on the sofa"),
        ("unless", "a cushion, a dog"),
        ("hold", "1s"),
        ("zone", "roof"),
    ] {
        browser.click(&format!("#f-{field}"));
        browser.text(text);
    }
    browser.click("#f-save");
    browser.until("document.querySelector('dialog .error')?.textContent.includes('there is no zone')");
    browser.eval("document.querySelector('#f-zone').value = 'steps'");
    browser.click("#f-save");
    browser.until("document.querySelector('.trigger[data-name=cat] .words')?.textContent === 'a cat on the sofa'");
    let cat = served.desk.trigger("cat").unwrap();
    assert_eq!((cat.unless, cat.hold), (vec!["a cushion".to_owned(), "a dog".to_owned()], Duration::from_secs(1)));
    assert_eq!((cat.zone.as_deref(), cat.threshold), (Some("steps"), 0.5));

    browser.click(".trigger[data-name=cat] .switch input");
    wait("the trigger is off", || (!served.desk.trigger("cat")?.enabled).then_some(()));
    browser.click(".trigger[data-name=cat] button");
    browser.click("dialog button.bad");
    assert!(served.desk.trigger("cat").is_some(), "it asks once more");
    browser.click("dialog button.bad");
    browser.until("!document.querySelector('.trigger[data-name=cat]')");
    assert!(served.desk.trigger("cat").is_none());

    browser.click("#armed");
    wait("it is not armed", || (!served.desk.armed()).then_some(()));
    browser.until("document.querySelector('#state').textContent.includes('Not armed')");
    let refused: Vec<String> =
        browser.complaints.drain(..).filter(|said| !said.contains("400 (Bad Request)")).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn what_was_changed_on_the_page_is_shown_and_taken_back() {
    let served = Served::open();
    let mut browser = opened(&served, 1280, 900);
    assert!(browser.eval("[...document.querySelectorAll('.edited')].every((one) => one.hidden)").as_bool().unwrap());
    browser.click(".trigger[data-name=dog] .switch input");
    let edited = ".trigger[data-name=dog] .edited";
    browser.until(&format!("document.querySelector('{edited}').textContent.includes('changed here')"));
    browser.until(&format!("!document.querySelector('{edited}').hidden"));
    browser.click(&format!("{edited} button"));
    wait("the trigger is on again", || served.desk.trigger("dog")?.enabled.then_some(()));
    browser.until(&format!("document.querySelector('{edited}').hidden"));

    browser.click(".trigger[data-name=parcel] .about button");
    browser.click("dialog button.bad");
    browser.click("dialog button.bad");
    browser.until("document.querySelector('#removed-triggers [data-name=parcel]') !== null");
    browser.click("#removed-triggers [data-name=parcel] button");
    browser.until("document.querySelector('#trigger-list [data-name=parcel]') !== null");
    browser.until("document.querySelector('#removed-triggers').childElementCount === 0");
    assert_eq!(served.desk.trigger("parcel").unwrap().threshold, 0.7);
    quiet(&served, &browser);
}

#[test]
fn questions_are_asked_by_keyboard_and_boxes_are_drawn() {
    let served = Served::open();
    let mut browser = opened(&served, 1280, 900);
    browser.click("#words");
    browser.text("what colour is the bicycle?");
    browser.key("Enter", 13);
    browser.until("document.querySelector('#answers .answer')?.textContent.startsWith('red')");
    for (task, words, shown) in [
        ("label", "a dog, a cat", "none of these"),
        ("caption", "", "a black and white dog"),
        ("check", "a dog sits next to a bicycle", "Yes"),
        ("ground", "the bicycle", "1 box"),
    ] {
        browser.click(&format!("[value={task}] + span"));
        if !words.is_empty() {
            browser.click("#words");
            browser.text(words);
        }
        browser.click("#send");
        browser.until(&format!("document.querySelector('#answers li').textContent.includes({})", json!(shown)));
    }
    browser.until("document.querySelector('#boxes .box span').textContent === 'the bicycle 58 %'");
    browser.until("document.querySelector('#caption').textContent.includes('a black and white dog')");
    quiet(&served, &browser);
}

#[test]
fn past_events_are_searched_and_paged() {
    let served = Served::open();
    for hours in (1..=30).rev() {
        let id = served.desk.begin("dog", "a dog runs over the lawn", HOUR * hours);
        served.desk.end(id, Duration::from_secs(9));
    }
    let box_id = served.desk.begin("parcel", "a brown box lies at the door", HOUR / 2);
    served.desk.end(box_id, Duration::from_secs(40));
    let mut browser = opened(&served, 1280, 900);
    browser.until("document.querySelectorAll('.event').length === 24");
    browser.click("#older");
    browser.until("document.querySelectorAll('.event').length === 31");
    browser.click("#find");
    browser.text("a brown box");
    browser.key("Enter", 13);
    browser.until("document.querySelectorAll('.event').length === 1");
    assert_eq!(browser.eval("document.querySelector('.event .number').textContent"), "fits 100 %");
    served.desk.begin("dog", "a dog again", Duration::ZERO);
    browser.until("document.querySelector('#fresh').textContent === '1 new event'");
    browser.click(".event > .quiet");
    browser.until("document.querySelector('#like').textContent.startsWith('Like the event of')");
    browser.click("#all");
    browser.until("document.querySelectorAll('.event').length === 24");
    browser.click(".event .open");
    browser.until("document.querySelector('#event-dialog[open] .box')");
    browser.key("Escape", 27);
    browser.until("!document.querySelector('#event-dialog[open]')");
    quiet(&served, &browser);
}

#[test]
fn a_phone_shows_everything_without_scrolling_sideways() {
    let served = Served::open();
    served.desk.add_garden();
    for hours in (0..4).rev() {
        served.desk.begin(
            "parcel",
            "a box_with_a_very_long_name_that_nobody_would_ever_break_by_hand at the door",
            HOUR * hours,
        );
    }
    let mut browser = opened(&served, 360, 740);
    let wide = "document.documentElement.scrollWidth";
    assert_eq!(browser.eval(wide), 360);
    // The other camera fails, and says why.
    browser.click("#cameras button:nth-child(2)");
    browser.until("document.querySelector('#blank').textContent.includes('10.0.0.9 refuses the connection')");
    browser.until("document.querySelector('#health-cards').textContent.includes('10.0.0.9 refuses the connection')");
    browser.click("#cameras button:nth-child(1)");
    browser.until("document.querySelector('#blank').hidden");
    browser.click("#add");
    browser.until("document.querySelector('#trigger-dialog[open]')");
    assert_eq!(browser.eval(wide), 360);
    assert_eq!(browser.eval("document.querySelector('#trigger-dialog').scrollWidth <= 360"), true);
    browser.key("Escape", 27);
    let unlabelled = browser.eval(
        "[...document.querySelectorAll('input, select, button')].filter((e) => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).map((e) => e.id || e.outerHTML)",
    );
    assert_eq!(unlabelled, json!([]), "every control has a name");
    keep("phone.png", &browser.screenshot(true));
    let other = |said: &&String| !said.contains("503 (Service Unavailable)");
    assert!(browser.complaints.iter().filter(other).count() == 0, "{:?}", browser.complaints);
}

#[test]
fn nothing_is_fetched_while_nobody_looks() {
    let served = Served::open();
    let mut browser = opened(&served, 1280, 900);
    browser.click("#pause");
    browser.until("document.querySelector('#pause').textContent === 'Go on'");
    let frames = |browser: &Browser| browser.requests.iter().filter(|url| url.contains("frame.jpg")).count();
    let paused = frames(&browser);
    // Three more seconds of the stream pass by without a frame.
    served.desk.score("dog", 0.11);
    browser.until("document.querySelector('.trigger[data-name=dog] .meter span').textContent === '11 %'");
    served.desk.score("dog", 0.22);
    browser.until("document.querySelector('.trigger[data-name=dog] .meter span').textContent === '22 %'");
    assert!(frames(&browser) <= paused + 1, "{} then {}", paused, frames(&browser));
    browser.click("#pause");
    wait("frames again", || {
        browser.eval("1");
        (frames(&browser) > paused + 2).then_some(())
    });
}

#[test]
fn the_login_form_lets_in_whoever_has_the_token() {
    let served = Served::with_token();
    let mut browser = Browser::start();
    browser.size(360, 740, true);
    browser.open(&served.url("/"));
    browser.until("document.querySelector('#token')");
    browser.click("#token");
    browser.until("document.activeElement.id === 'token'");
    browser.text("not the token, surely");
    browser.key("Enter", 13);
    browser.until("document.querySelector('#wrong') && !document.querySelector('#wrong').hidden");
    browser.click("#token");
    browser.until("document.activeElement.id === 'token'");
    browser.text(TOKEN);
    browser.key("Enter", 13);
    browser.until("document.querySelector('#device')?.textContent === 'porch-pi'");
    assert_eq!(browser.eval("document.cookie"), "", "scripts cannot read the cookie");
    assert_eq!(browser.eval("location.href").as_str().unwrap(), served.url("/"));
}

#[test]
fn the_page_says_when_lookout_is_gone() {
    let mut served = Served::open();
    let mut browser = opened(&served, 1280, 900);
    served.link.stop(std::time::Instant::now() + Duration::from_secs(10));
    browser.until("!document.querySelector('#lost').hidden");
    browser.until("document.querySelector('#lost').textContent.includes('cannot be reached')");
}

#[test]
fn a_picture_of_the_page_in_both_themes() {
    let served = Served::open();
    for (hours, trigger, caption) in [
        (26, "dog", "a dog runs over the lawn"),
        (20, "parcel", "a brown box lies at the door"),
        (3, "dog", "a black and white dog looks at the street"),
        (1, "dog", "a dog sleeps next to a bicycle"),
    ] {
        let id = served.desk.begin(trigger, caption, HOUR * hours);
        served.desk.end(id, Duration::from_secs(14 * u64::from(hours)));
    }
    let mut browser = opened(&served, 1280, 900);
    served.desk.score("dog", 0.81);
    served.desk.begin("dog", "a black and white dog sits on the porch next to a red bicycle", Duration::ZERO);
    browser.until("document.querySelectorAll('.event').length === 5");
    browser.until("document.querySelector('#boxes .box')");
    browser.until("document.querySelector('.trigger[data-name=dog] .meter span').textContent === '81 %'");
    // Pictures further down are fetched when they come into sight.
    browser.eval("document.querySelector('#health').scrollIntoView({behavior: 'instant'})");
    browser.until("[...document.querySelectorAll('.event img')].filter((i) => i.naturalWidth > 0).length === 5");
    browser.eval("window.scrollTo({top: 0, behavior: 'instant'})");
    let mut means = Vec::new();
    for theme in ["light", "dark"] {
        browser.theme(theme);
        browser.eval("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 500)))");
        let png = browser.screenshot(true);
        let picture = Picture::decode(&png, "the page").unwrap();
        assert_eq!(picture.width(), 1280);
        let sum: u64 = picture.as_rgb8().iter().map(|byte| u64::from(*byte)).sum();
        means.push(sum / picture.as_rgb8().len() as u64);
        keep(if theme == "light" { "page.png" } else { "dark.png" }, &png);
    }
    assert!(means[0] > 150 && means[1] < 90, "{means:?}");
    quiet(&served, &browser);
}

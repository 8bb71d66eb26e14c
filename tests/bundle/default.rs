//! The bundle in the repository is whole: its manifest is sound, every hash holds, and every role is there.

use std::path::Path;

use lookout::bundle::{Bundle, Role};

#[test]
fn the_default_bundle_is_whole() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    let bundle = Bundle::open(&path).expect("it opens");
    bundle.verify().expect("every hash holds");
    for role in Role::ALL {
        assert!(bundle.bytes(role).is_some(), "{role} is there");
    }
    let pairs = bundle.pairs().expect("its check file is sound").expect("it has a check file");
    assert!(!pairs.image.is_empty() && !pairs.text.is_empty());
}

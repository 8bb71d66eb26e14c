//! The configurations of the boards are sound.

use crate::cli;
use std::path::Path;

#[test]
fn the_configuration_of_every_board_is_sound_and_its_readme_says_what_was_tried() {
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("boards");
    for (board, file) in [
        ("debian", "lookout.toml"),
        ("raspberry-pi", "lookout.toml"),
        ("raspberry-pi", "image.toml"),
        ("jetson", "lookout.toml"),
        ("generic-arm64", "lookout.toml"),
        ("qemu-virt", "lookout.toml"),
    ] {
        let config = boards.join(board).join(file);
        let bundle = cli::default_bundle();
        let all = ["run", "--check", "-c", config.to_str().unwrap(), "--bundle", bundle.to_str().unwrap()];
        let checked = cli::lookout(all).good();
        assert!(checked.out.contains("camera   camera") && checked.out.contains("is sound"), "{}", checked.out);
        let readme = std::fs::read_to_string(boards.join(board).join("README.md")).unwrap();
        assert!(readme.to_lowercase().contains("tried") && readme.contains("lookout.toml"), "{board}");
    }
}

//! The targets of fuzzing, run without a fuzzer: over what usual peers say, over that with some bytes changed at random, and over
//! all that fuzzing has found. The functions themselves are those of `tests/fuzz`.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

use crate::support::random::{Random, long};
use targets::{Target, seeds};

fn target(name: &str) -> Target {
    targets::TARGETS.into_iter().find(|target| target.name == name).expect("it is in the list")
}

/// Changes, doubles, drops or adds some bytes.
fn change(input: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.index(input.len() + 1);
        let byte = [0, 1, 0x7f, 0x80, 0xff, u8::try_from(random.below(256)).unwrap()][random.index(6)];
        match random.below(4) {
            0 if at < input.len() => input[at] = byte,
            1 if at < input.len() => {
                input.remove(at);
            }
            2 => input.truncate(at.max(4)),
            _ => input.insert(at, byte),
        }
    }
}

fn run(name: &str, changed: usize) {
    let run = |input: &[u8]| {
        let target = target(name).run;
        if let Err(panic) = std::panic::catch_unwind(|| target(input)) {
            println!("{name} fails on {input:02x?}");
            std::panic::resume_unwind(panic);
        }
    };
    let seeds = seeds(name);
    assert!(!seeds.is_empty());
    for seed in &seeds {
        run(seed);
    }
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/found").join(name);
    for file in fs::read_dir(found).into_iter().flatten() {
        run(&fs::read(file.unwrap().path()).unwrap());
    }
    let mut random = Random::of_environment(name);
    for _ in 0..if long() { changed * 100 } else { changed } {
        let mut input = seeds[random.index(seeds.len())].clone();
        change(&mut input, &mut random);
        run(&input);
    }
}

#[test]
fn the_first_words_of_a_server() {
    run("handshake", 2000);
}

#[test]
fn frames_and_messages() {
    run("frames", 2000);
}

#[test]
fn lists_of_files() {
    run("list", 2000);
}

#[test]
fn numbers_and_small_records() {
    run("numbers", 5000);
}

#[test]
fn compressed_tokens() {
    run("tokens", 2000);
}

#[test]
fn rules_of_filters() {
    run("filter", 2000);
}

#[test]
fn a_whole_sender() {
    run("sender", 1500);
}

#[test]
fn a_whole_receiver() {
    run("receiver", 1000);
}

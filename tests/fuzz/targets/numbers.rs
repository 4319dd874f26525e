#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nas_sync_fuzz::numbers(input));

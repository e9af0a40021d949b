//! See [`armory_fuzz::resources::resources`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| armory_fuzz::resources::resources(bytes));

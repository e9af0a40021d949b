//! Makes the component of the quick start's plugin from its WebAssembly text.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const TEXT: &str = "src/quickstart/drop-secret.wat";
const CONTRACT: &str = "../../wit/0.1";

fn main() {
    println!("cargo::rerun-if-changed={TEXT}");
    println!("cargo::rerun-if-changed={CONTRACT}");
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_dir(Path::new(CONTRACT))
        .expect("the contract parses");
    let world = resolve
        .select_world(&[package], Some("wasi-backup-plugin"))
        .expect("it has the backup world");
    let mut module = wat::parse_file(TEXT).expect("the text is valid");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the metadata fits");
    let mut encoder = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .expect("the module is of the world");
    let component = encoder.encode().expect("it becomes a component");
    let out = std::env::var_os("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&out).join("drop-secret.wasm"), component)
        .expect("the build folder can be written");
}

//! What a plugin's author needs before there is a component: a project to begin with, and a build of it.
//!
//! [`create()`] writes a project in one of four [`Language`]s for one of the two [`World`]s. The files are those of `guests/`,
//! which tests build and run, so what an author begins with works. [`build()`] finds out what a folder holds, runs the
//! language's own toolchain in it, and makes a component of what comes out.
//!
//! Everything that a build installs, it installs into the project's folder. What belongs to the machine (compilers, Node,
//! Python) is asked for: an error says what is missing and how to get it.

mod build;
mod component;
mod create;
mod error;
mod language;
mod templates;

pub use build::{Built, build};
pub use component::encode;
pub use create::create;
pub use error::Error;
pub use language::{Language, World};

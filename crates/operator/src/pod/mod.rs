//! Pods of workers: how they are made, and what can be told from them.

mod fields;
mod places;
mod problem;
mod template;

pub use fields::PodFields;
pub(crate) use places::Places;
pub(crate) use problem::{Trouble, trouble};
pub use template::Image;
pub(crate) use template::{JOB_FILE, PORT, REPORTS, Template};

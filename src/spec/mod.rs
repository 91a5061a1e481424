//! From text to `model::Fleet`.
//!
//! The syntax half: `toml`, `yaml` and `json` make one spanned `tree`, `de` fills the as-written types of `file` from
//! it, and `schema` publishes those types.
//!
//! The meaning half, in the order things happen: `include` finds and merges files, `vars` fills references in,
//! `matrix` makes instances, `needs` turns names into ids, `task`, `secret`, `scorer`, `worker` and `when` resolve the rest, all
//! with a `context` at hand; of a worker `host` has where it lives, `container` what one may be made of, and `security`
//! what bounds trust. `shell`, `paths` and `quantity` (durations and sizes) read one kind
//! of text each. `error` has every mistake and
//! its words, `literal` finds credentials that no file should hold, `map` the places, `render` what is seen of it. `outside` asks everything that is not in the file itself,
//! and `looks` has what it was told.

mod cache;
pub mod container;
mod context;
pub mod de;
pub mod error;
pub mod file;
mod host;
mod include;
mod json;
mod literal;
pub mod looks;
pub mod map;
mod matrix;
mod names;
pub mod nearest;
mod needs;
mod outside;
mod paths;
mod quantity;
pub mod render;
mod resolve;
mod retry;
pub mod schema;
mod scorer;
mod secret;
mod security;
mod shape;
mod shell;
pub mod source;
mod syntax_error;
mod task;
mod toml;
pub mod tree;
mod url;
mod vars;
mod when;
mod words;
mod worker;
mod yaml;

pub use error::{Label, Place, Problem};
pub use looks::{Answers, Looks};
pub use map::{Origin, Source, SourceMap};
pub use quantity::{typed_duration, typed_size};
pub use resolve::{Failure, Loaded, Request, find, load};
pub use source::{Syntax, parse};
pub use tree::{FileId, Node, Seg, Tree};
pub use when::Facts;

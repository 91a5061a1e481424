//! `fleet schema`: what editors need to know of a fleet file.

use std::io::{self, Write as _};

use clap::Args;

use super::Trouble;
use crate::policy::ExitCode;
use crate::spec::schema;

/// Print the JSON Schema of a fleet file
#[derive(Args, Debug)]
#[command(after_help = "\
It is what schemas/fleet.schema.json holds, made from the types that read a fleet file. Editors find it by a header:
  TOML  #:schema ./schemas/fleet.schema.json
  YAML  # yaml-language-server: $schema=./schemas/fleet.schema.json
  JSON  \"$schema\": \"./schemas/fleet.schema.json\"")]
pub struct SchemaArgs {}

/// # Errors
/// When standard output cannot be written.
pub fn run(_: &SchemaArgs) -> Result<ExitCode, Trouble> {
    io::stdout().lock().write_all(schema::json().as_bytes())?;
    Ok(ExitCode::Passed)
}

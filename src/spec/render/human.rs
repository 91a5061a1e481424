//! Problems with the lines they stand on, several places in several files under one message.

use std::fmt;
use std::fmt::Write as _;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, SourceCode, SourceSpan, SpanContents,
};

use super::super::error::{Label, Problem};
use super::super::map::{Source, SourceMap, boundary};
use super::super::tree::FileId;
use super::without_credentials;

/// How to draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    pub color: bool,
    /// Columns.
    pub width: usize,
    /// Put before every file name: the way from the working directory to the workspace, `""` or `"../"`.
    pub prefix: String,
}

impl Default for Style {
    fn default() -> Self {
        Self { color: false, width: 100, prefix: String::new() }
    }
}

/// Problems drawn on screen at most; the others are counted.
const DRAWN_MAX: usize = 100;

/// All problems, one below the other, and how many there are when there is more than one.
#[must_use]
pub fn human(problems: &[Problem], sources: &SourceMap, style: &Style) -> String {
    let theme = if style.color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(style.width)
        .tab_width(4)
        .with_context_lines(1)
        .with_links(false)
        .without_syntax_highlighting();
    let mut out = String::new();
    for problem in problems.iter().take(DRAWN_MAX).map(without_credentials) {
        let problem = &problem;
        if draw(&mut out, &handler, problem, sources, style).is_err() {
            // The drawing refused a place; the words alone still help.
            let _ = writeln!(out, "{}: {}", problem.code, problem.message);
        }
        out.push('\n');
    }
    if problems.len() > DRAWN_MAX {
        let _ = writeln!(out, "… and {} more", problems.len() - DRAWN_MAX);
    }
    if problems.len() > 1 {
        let _ = writeln!(out, "{} problems", problems.len());
    }
    out
}

fn draw(
    out: &mut String,
    handler: &GraphicalReportHandler,
    problem: &Problem,
    sources: &SourceMap,
    style: &Style,
) -> fmt::Result {
    let mut files: Vec<FileId> = Vec::new();
    for label in &problem.labels {
        if !files.contains(&label.file) {
            files.push(label.file);
        }
    }
    if files.is_empty() {
        let part = Part { problem, labels: Vec::new(), source: None, first: true, last: true };
        return handler.render_report(out, &part);
    }
    let mut text = String::new();
    for (n, file) in files.iter().enumerate() {
        let labels = problem.labels.iter().filter(|label| label.file == *file).collect();
        let source = sources.source(*file).map(|source| Lines { source, prefix: &style.prefix });
        let part = Part { problem, labels, source, first: n == 0, last: n + 1 == files.len() };
        text.clear();
        handler.render_report(&mut text, &part)?;
        // miette draws one source per message, so the parts after the first lose their empty message line.
        let body = if n == 0 { text.as_str() } else { text.split_once('\n').map_or("", |(_, body)| body) };
        out.push_str(body);
    }
    Ok(())
}

/// The labels of one file, with the message before the first and the help behind the last.
#[derive(Debug)]
struct Part<'a> {
    problem: &'a Problem,
    labels: Vec<&'a Label>,
    source: Option<Lines<'a>>,
    first: bool,
    last: bool,
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first { f.write_str(&self.problem.message) } else { Ok(()) }
    }
}

impl std::error::Error for Part<'_> {}

impl Diagnostic for Part<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.first.then(|| Box::new(self.problem.code) as Box<dyn fmt::Display>)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.problem.help.as_deref().filter(|_| self.last)?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let source = self.source.as_ref()?.source;
        let labels = self.labels.iter().enumerate().map(move |(n, label)| {
            let at = first_line(source, &label.span);
            let text = (!label.text.is_empty()).then(|| label.text.clone());
            let span = SourceSpan::new(at.start.into(), at.len());
            if n == 0 && self.first {
                LabeledSpan::new_primary_with_span(text, span)
            } else {
                LabeledSpan::new_with_span(text, span)
            }
        });
        Some(Box::new(labels))
    }
}

/// A place over several lines is shown by its first.
fn first_line(source: &Source, span: &std::ops::Range<usize>) -> std::ops::Range<usize> {
    let mut at = source.clamped(span);
    // Nothing can be drawn behind the last line; the end of that line is the nearest place.
    let end = source.text.trim_end_matches(['\r', '\n']).len();
    if at.start >= source.text.len() && end > 0 {
        at = end..end;
    }
    let line = source.text[at.clone()].find(['\r', '\n']).unwrap_or(at.len());
    // Of a very long line the beginning is enough to see.
    at.start..boundary(&source.text, at.start + line.min(LABEL_BYTES_MAX))
}

/// Longest stretch that is underlined.
const LABEL_BYTES_MAX: usize = 200;
/// Most bytes shown around a place; only a file without line breaks has longer lines.
const SHOWN_BYTES_MAX: usize = 1_000;

/// Reads lines through the index of line starts, so that a place deep in a large file costs no walk through it.
#[derive(Debug)]
struct Lines<'a> {
    source: &'a Source,
    prefix: &'a str,
}

impl SourceCode for Lines<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let at = self.source.clamped(&(span.offset()..span.offset() + span.len()));
        let (line, column) = self.source.line_column(at.start);
        let (end_line, _) = self.source.line_column(at.end);
        let first = line.saturating_sub(before).max(1);
        let last = end_line + after;
        let mut bytes = self.source.line_start(first)..self.source.line_start(last + 1);
        if bytes.len() > SHOWN_BYTES_MAX + at.len() {
            let around = at.start.saturating_sub(100).max(bytes.start)..(at.end + 100).min(bytes.end);
            bytes = self.source.clamped(&around);
        }
        // With lines before, the context begins at a line's start; the column is that of the context.
        let column = if first < line || before > 0 { 0 } else { column - 1 };
        Ok(Box::new(Stretch {
            data: &self.source.shown().as_bytes()[bytes.clone()],
            span: SourceSpan::new(bytes.start.into(), bytes.len()),
            name: format!("{}{}", self.prefix, self.source.name),
            line: first - 1,
            column,
            lines: last + 1 - first,
        }))
    }
}

struct Stretch<'a> {
    data: &'a [u8],
    span: SourceSpan,
    name: String,
    line: usize,
    column: usize,
    lines: usize,
}

impl<'a> SpanContents<'a> for Stretch<'a> {
    fn data(&self) -> &'a [u8] {
        self.data
    }
    fn span(&self) -> &SourceSpan {
        &self.span
    }
    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
    fn line(&self) -> usize {
        self.line
    }
    fn column(&self) -> usize {
        self.column
    }
    fn line_count(&self) -> usize {
        self.lines
    }
}

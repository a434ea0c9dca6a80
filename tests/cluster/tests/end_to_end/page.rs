//! What a page of the documentation tells people to apply and to run.

use std::fs;

use crate::install::ROOT;

/// The blocks of code of a page, as they stand there.
pub(crate) struct Page {
    name: String,
    blocks: Vec<String>,
}

impl Page {
    /// `name` is that of a page in docs/how-to.
    pub(crate) fn how_to(name: &str) -> Self {
        let path = format!("{ROOT}/docs/how-to/{name}.md");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let blocks = text.split("\n```").skip(1).step_by(2);
        // The first line is the language.
        let blocks = blocks.filter_map(|block| block.split_once('\n').map(|(_, block)| format!("{block}\n")));
        Self { name: path, blocks: blocks.collect() }
    }

    /// The one block with this text.
    pub(crate) fn block(&self, text: &str) -> &str {
        let found: Vec<_> = self.blocks.iter().filter(|block| block.contains(text)).collect();
        match found[..] {
            [block] => block,
            _ => panic!("{}: {} blocks with {text:?}", self.name, found.len()),
        }
    }

    /// The one line of a block with this text.
    pub(crate) fn command(&self, text: &str) -> &str {
        let lines = self.blocks.iter().flat_map(|block| block.lines());
        let found: Vec<_> = lines.filter(|line| line.contains(text)).collect();
        match found[..] {
            [line] => line,
            _ => panic!("{}: {} lines with {text:?}", self.name, found.len()),
        }
    }
}

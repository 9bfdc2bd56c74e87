//! As much of Markdown as the checks need: fenced blocks, headings, links, code spans.

use std::path::{Path, PathBuf};

/// A Markdown file, taken apart.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) path: PathBuf,
    pub(crate) blocks: Vec<Block>,
    /// Lines outside of blocks with their numbers, from 1.
    pub(crate) prose: Vec<(usize, String)>,
}

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The number of its first line inside.
    pub(crate) line: usize,
    /// What follows the opening fence: `rust,no_run`.
    pub(crate) tag: String,
    pub(crate) lines: Vec<String>,
}

impl Block {
    /// The language: the tag up to the first comma or space.
    pub(crate) fn language(&self) -> &str {
        self.tag.split([',', ' ']).next().unwrap_or_default()
    }
}

impl Document {
    pub(crate) fn new(path: &Path, text: &str) -> Self {
        let mut document = Self { path: path.to_owned(), blocks: Vec::new(), prose: Vec::new() };
        let mut open: Option<(String, Block)> = None;
        for (index, line) in text.lines().enumerate() {
            let bare = line.trim_start();
            match &mut open {
                Some((fence, _)) if closes(bare, fence) => {
                    document.blocks.extend(open.take().map(|(_, block)| block));
                }
                Some((_, block)) => block.lines.push(line.to_owned()),
                None => match opening(bare) {
                    Some((fence, tag)) => {
                        open = Some((fence, Block { line: index + 2, tag, lines: Vec::new() }));
                    }
                    None => document.prose.push((index + 1, line.to_owned())),
                },
            }
        }
        document.blocks.extend(open.map(|(_, block)| block));
        document
    }

    /// The anchors of its headings, as code hosts make them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        for (_, line) in &self.prose {
            let text = line.trim_start_matches('#');
            let level = line.len() - text.len();
            if !(1..=6).contains(&level) || !text.starts_with(' ') {
                continue;
            }
            let anchor = anchor(text);
            let repeated = anchors.iter().filter(|known| is_repeat(known, &anchor)).count();
            anchors.push(if repeated == 0 { anchor } else { format!("{anchor}-{repeated}") });
        }
        anchors
    }

    /// Targets of links, with their line numbers.
    pub(crate) fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in &self.prose {
            let text = without_spans(line);
            for (at, _) in text.match_indices("](") {
                let rest = &text[at + 2..];
                if let Some(target) = rest.split(')').next() {
                    // A title may follow the target: [a](b "c").
                    links.push((*number, target.split(' ').next().unwrap_or_default().to_owned()));
                }
            }
            // [name]: target
            if let Some((name, target)) = text.trim_start().split_once("]: ")
                && name.starts_with('[')
                && !name.starts_with("[^")
            {
                links.push((*number, target.split(' ').next().unwrap_or_default().to_owned()));
            }
        }
        links
    }

    /// The `code spans` of its prose, with their line numbers.
    pub(crate) fn spans(&self) -> Vec<(usize, String)> {
        let mut spans = Vec::new();
        for (number, line) in &self.prose {
            spans.extend(line.split('`').skip(1).step_by(2).map(|span| (*number, span.to_owned())));
        }
        spans
    }
}

/// The fence and the tag, if the line opens a block.
fn opening(line: &str) -> Option<(String, String)> {
    let mark = line.chars().next().filter(|mark| ['`', '~'].contains(mark))?;
    let tag = line.trim_start_matches(mark);
    let length = line.len() - tag.len();
    (length >= 3 && !tag.contains('`')).then(|| (mark.to_string().repeat(length), tag.trim().to_owned()))
}

fn closes(line: &str, fence: &str) -> bool {
    line.starts_with(fence) && line.trim_end().chars().all(|mark| fence.starts_with(mark))
}

fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Whether `known` is `anchor`, or `anchor` with a number behind it.
fn is_repeat(known: &str, anchor: &str) -> bool {
    known.strip_prefix(anchor).is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix('-').is_some_and(|n| n.parse::<u32>().is_ok())
    })
}

/// The line with its code spans emptied.
fn without_spans(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::new(Path::new("a.md"), text)
    }

    #[test]
    fn blocks_are_told_from_prose() {
        let document = document("one\n```rust,no_run\nlet a;\n```\ntwo\n~~~~\n```\n~~~~\n");
        assert_eq!(document.prose, [(1, "one".to_owned()), (5, "two".to_owned())]);
        assert_eq!(document.blocks.len(), 2);
        assert_eq!(document.blocks[0].language(), "rust");
        assert_eq!((document.blocks[0].line, &document.blocks[0].lines[..]), (3, &["let a;".to_owned()][..]));
        assert_eq!(document.blocks[1].lines, ["```"]);
    }

    #[test]
    fn a_block_left_open_reaches_to_the_end() {
        assert_eq!(document("```sh\nls\n").blocks[0].lines, ["ls"]);
    }

    #[test]
    fn anchors_are_those_of_code_hosts() {
        let document = document("# What it is\n## `T:dead`, and why?\n## Keys\n## Keys\n#nothing\n");
        assert_eq!(document.anchors(), ["what-it-is", "tdead-and-why", "keys", "keys-1"]);
    }

    #[test]
    fn links_are_found_outside_of_code() {
        let document = document("[a](b.md) and `[x](y)`\n[c]( d.md)\n[e]: f.md\n[g](h.md \"title\")\n");
        let targets: Vec<String> = document.links().into_iter().map(|(_, target)| target).collect();
        assert_eq!(targets, ["b.md", "", "f.md", "h.md"]);
    }

    #[test]
    fn spans_are_found() {
        assert_eq!(
            document("run `cargo xtask ci` or `ls`").spans(),
            [(1, "cargo xtask ci".into()), (1, "ls".into())]
        );
    }
}

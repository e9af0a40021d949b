//! The blocks of a guide in Markdown, for tests that follow it as a reader would.

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands behind the fence: `sh`, or `rust drop-header/src/lib.rs`.
    pub info: String,
    /// What is in it, with its last line's end.
    pub text: String,
}

/// The fenced blocks of a page, in order.
///
/// # Panics
/// If one is not closed.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                open = Some(Block {
                    info: info.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_fences_is_a_block() {
        let block = |info: &str, text: &str| Block {
            info: info.to_owned(),
            text: text.to_owned(),
        };
        assert_eq!(
            blocks("a\n```sh\nls\n\n```\n```\n```\nb"),
            [block("sh", "ls\n\n"), block("", "")]
        );
    }
}

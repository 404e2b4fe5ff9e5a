use super::*;
use crate::cli::topics::TOPICS;

fn plain(width: usize, markdown: &str) -> String {
    let page = Page {
        width,
        has_bold: false,
    };
    page.show(markdown)
}

#[test]
fn lines_are_as_wide_as_what_shows_them() {
    let width = |columns, terminal| Page::new(columns, terminal, false).width;
    assert_eq!(width(None, None), 80);
    assert_eq!(width(None, Some(60)), 60);
    assert_eq!(width(None, Some(200)), 100);
    assert_eq!(width(Some("72"), Some(60)), 72);
    assert_eq!(width(Some("72"), None), 72);
    assert_eq!(width(Some("wide"), Some(60)), 60);
    assert_eq!(width(Some("0"), None), 80);
    assert_eq!(width(Some("1"), None), 20);
}

#[test]
fn paragraphs_are_filled_under_their_headings() {
    let text = "# A title\n\nSee [names](names.md#a) and\n[the view](top.md), **always**.\n\n\
                ![picture](x.png)\n\n## Next\n\nUse `-r`.\n";
    assert_eq!(
        plain(24, text),
        "A title\n  See names and the\n  view, always.\n\nNext\n  Use `-r`.\n"
    );
}

#[test]
fn code_keeps_its_lines() {
    let text = "So:\n\n```console\n$ a  long line of code that goes on\n\n  |x|\n```\n\nEnd.\n";
    assert_eq!(
        plain(20, text),
        "  So:\n\n    $ a  long line of code that goes on\n\n      |x|\n\n  End.\n"
    );
}

#[test]
fn lists_hang() {
    let text = "Few:\n\n- one two three four\n- five\n  - six seven eight\n\nThen.\n\n9. nine\n\n   more\n10. ten\n";
    assert_eq!(
        plain(20, text),
        "  Few:\n\n  - one two three\n    four\n  - five\n    - six seven\n      eight\n\n  Then.\n\n  \
         9. nine\n\n     more\n\n  10. ten\n"
    );
}

#[test]
fn code_in_a_list_is_indented_under_its_item() {
    let text = "- one:\n\n  ```\n  code\n  ```\n- two\n";
    assert_eq!(plain(20, text), "  - one:\n\n      code\n\n  - two\n");
}

#[test]
fn cells_of_tables_have_several_lines() {
    let text = "| key | n | does |\n|---|---:|---|\n| `g` | 7 | groups by the next one there is |\n| a\\|b | 10 | [moves](x) |\n";
    assert_eq!(
        plain(34, text),
        "  key   n  does\n  \
           ---  --  -----------------------\n  \
           `g`   7  groups by the next one\n           there is\n  \
           a|b  10  moves\n"
    );
    assert_eq!(
        plain(20, text),
        "  - `g`\n      n: 7\n      does: groups\n        by the next\n        one there is\n  - a|b\n      n: 10\n      does: moves\n"
    );
}

#[test]
fn rows_are_told_apart_where_their_first_cells_go_on() {
    let text = "| what for in a word | does |\n|---|---|\n| four words it is in the end | a |\n| b | c |\n";
    assert_eq!(
        plain(26, text),
        "  what for in a word  does\n  ------------------  ----\n  four words it is    a\n  in the end\n\n  b                   c\n"
    );
}

#[test]
fn bold_letters_are_words_on_a_terminal() {
    let page = Page {
        width: 18,
        has_bold: true,
    };
    let bold = |word: &str| format!("\x1b[1m{word}\x1b[0m");
    let text = "# A title\n\nSee `top -r` **now**, or never.\n";
    let expected = format!(
        "{} {}\n  See {} {} {},\n  or never.\n",
        bold("A"),
        bold("title"),
        bold("top"),
        bold("-r"),
        bold("now"),
    );
    assert_eq!(page.show(text), expected);
}

#[test]
fn every_guide_fits() {
    for topic in TOPICS {
        for width in [60, 80, 100] {
            let text = plain(width, topic.text);
            let beyond = { text.lines() }.filter(|line| {
                // Code keeps its lines, and a word longer than a line is not cut.
                let is_code = topic
                    .text
                    .lines()
                    .any(|source| source.trim() == line.trim());
                !is_code && line.chars().count() > width && line.trim().contains(' ')
            });
            let beyond: Vec<&str> = beyond.collect();
            assert!(beyond.is_empty(), "{}, {width}: {beyond:#?}", topic.name);
            for mark in ["](", "**", "|--", "```"] {
                let line = text.lines().find(|line| {
                    line.contains(mark)
                        && !topic
                            .text
                            .lines()
                            .any(|source| source.trim() == line.trim())
                });
                assert_eq!(line, None, "{}, {width}", topic.name);
            }
        }
    }
}

//! The view without a terminal: what it draws, and what keys do.

use std::collections::HashMap;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::app::{App, HELP, Outcome, Press};
use super::draw::{self, Head, Palette};
use super::lines::{Filter, Group, Key, Sort, Wanted};
use super::list::List;
use super::plain;
use crate::captures::difference::Known;
use crate::live::session::view::Figures;
use crate::model::capture::{Capture, Interface};
use crate::model::learnt::Learnt;
use crate::model::listing::{Flow, Listing};
use crate::model::names::Names;
use crate::model::record::{Identity, Record, Service};
use crate::model::ruled::{Decision, Denied, Ruled, Told};
use crate::model::selection::{Not, Ports, Selection};
use crate::model::services::Services;
use crate::model::timestamp::Timestamp;
use crate::model::tuple::Tuple;

const HOSTILE: &str = "\x1b[2J\u{202e}host\n";

fn flow(number: u16) -> Flow {
    let [high, low] = number.to_be_bytes();
    let source = format!("10.{high}.0.{}", low % 10);
    let server = format!("198.51.100.{}", low % 3);
    let tuple = Tuple::tcp(&source, &server, 440 + number);
    let seen = Timestamp::from_us(1 + u64::from(number) * 1_000_000);
    Flow::from(Record {
        connections: u64::from(number % 7),
        first_seen: seen,
        last_seen: seen,
        ..Record::new(Identity::of(&tuple), number % 3 != 0)
    })
}

fn parse(text: &str) -> Result<Filter, String> {
    if let Some(name) = text.strip_prefix("name ") {
        return Ok(Filter {
            destination_names: vec![Not::Is(name.parse()?)],
            ..Filter::default()
        });
    }
    let port: Ports = text.parse()?;
    Ok(Filter {
        selection: Selection {
            dport: vec![Not::Is(port)],
            ..Selection::default()
        },
        ..Filter::default()
    })
}

fn app(flows: Vec<Flow>, baseline: Option<Known>) -> App {
    let mut list = List::new(Services::default(), Names::default(), baseline);
    list.describe(vec![Capture {
        host: Some(HOSTILE.to_owned()),
        end: Timestamp::from_us(1_000_000_000),
        interfaces: vec![Interface {
            name: HOSTILE.to_owned(),
            addresses: vec!["10.0.0.99/8".parse().unwrap()],
            ..Interface::default()
        }],
        ..Capture::default()
    }]);
    list.take_stored(flows, Told::default());
    let mut app = App::new(list, Wanted::default(), parse);
    app.refresh();
    app
}

fn screen(app: &mut App, (width, height): (u16, u16)) -> Vec<String> {
    let head = Head {
        what: HOSTILE.to_owned(),
        elapsed: Duration::from_secs(5),
        verdict: "incomplete",
        reasons: vec![HOSTILE.to_owned()],
        missed: 7,
        is_live: true,
        message: Some(HOSTILE.to_owned()),
    };
    app.resize(draw::room(height));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let palette = Palette { has_colour: false };
    terminal
        .draw(|frame| draw::draw(frame, app, &head, palette))
        .unwrap();
    let buffer = terminal.backend().buffer().clone();
    let rows = buffer.content.chunks(usize::from(width.max(1)));
    let rows = rows.map(|row| row.iter().map(|cell| cell.symbol()).collect());
    rows.collect()
}

fn characters(app: &mut App, text: &str) {
    for c in text.chars() {
        assert_eq!(app.press(Press::Character(c)), Outcome::Nothing);
    }
}

#[test]
fn it_fits_any_terminal_and_nothing_hostile_gets_there() {
    let mut app = app((0..100).map(flow).collect(), None);
    for keys in ["", "g", "g", "g", "g", "r", "q", "?", "q", "/"] {
        characters(&mut app, keys);
        for size in [
            (80, 24),
            (0, 0),
            (1, 1),
            (7, 3),
            (20, 5),
            (79, 6),
            (300, 90),
        ] {
            let rows = screen(&mut app, size);
            assert!(
                rows.iter()
                    .all(|row| row.chars().count() <= usize::from(size.0))
            );
            let text = rows.concat();
            assert!(
                !text.contains(crate::model::printable::is_harmful),
                "{text:?}"
            );
        }
    }
    let rows = screen(&mut app, (80, 24));
    assert!(
        rows[0].contains("incomplete, 7 events missed"),
        "{}",
        rows[0]
    );
    assert!(rows[0].contains("\\x1b[2J"), "{}", rows[0]);
    let mut text = Vec::new();
    let head = Head {
        what: HOSTILE.to_owned(),
        ..Head::default()
    };
    plain::write(&app, &head, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.lines()
            .all(|line| !line.contains(crate::model::printable::is_harmful))
    );
}

#[test]
fn the_whole_help_is_on_a_small_terminal() {
    let mut app = app(Vec::new(), None);
    characters(&mut app, "?");
    let rows = screen(&mut app, (80, 24)).join("\n");
    for line in HELP {
        assert!(rows.contains(line.trim()), "{line}\n{rows}");
    }
}

#[test]
fn orders_and_groups_are_what_they_are_called() {
    let flows: Vec<Flow> = (0..100).map(flow).collect();
    let mut app = app(flows.clone(), None);
    let by = |app: &App, of: fn(&Record) -> u64| -> Vec<u64> {
        let records = app
            .lines
            .iter()
            .map(|line| &app.list.flows[line.members[0]].record);
        records.map(of).collect()
    };
    let first = |record: &Record| record.first_seen.map_or(0, Timestamp::us);
    assert!(
        by(&app, first).is_sorted_by(|a, b| a > b),
        "the newest first"
    );
    characters(&mut app, "S");
    assert!(by(&app, first).is_sorted(), "and the other way round");
    characters(&mut app, "Sss");
    assert_eq!(app.wanted.sort, Sort::Connections);
    assert!(by(&app, |record| record.connections).is_sorted_by(|a, b| a >= b));
    for (group, of) in [
        (
            Group::Service,
            (|identity| match identity.service {
                Service::Port(port) => port.to_string(),
                _ => unreachable!(),
            }) as fn(&Identity) -> String,
        ),
        (Group::Client, |identity| identity.source.to_string()),
        (Group::Server, |identity| identity.destination.to_string()),
    ] {
        characters(&mut app, "g");
        assert_eq!(app.wanted.group, group);
        let mut counted: HashMap<String, (u64, u64)> = HashMap::new();
        for flow in &flows {
            let sums = counted.entry(of(&flow.record.identity)).or_default();
            sums.0 += 1;
            sums.1 += flow.record.connections;
        }
        assert_eq!(app.lines.len(), counted.len());
        for line in &app.lines {
            let record = &app.list.flows[line.members[0]].record;
            let sums = counted[&of(&record.identity)];
            assert_eq!((line.sum.flows, line.sum.connections), sums);
        }
    }
}

#[test]
fn filters_choose_and_what_is_no_filter_changes_nothing() {
    let mut app = app((0..100).map(flow).collect(), None);
    characters(&mut app, "/450");
    app.press(Press::Enter);
    assert_eq!((app.lines.len(), app.flows), (1, 1));
    assert!(matches!(&app.lines[0].key, Key::Flow(flow) if flow.service == Service::Port(450)));
    characters(&mut app, "/x");
    app.press(Press::Enter);
    assert!(
        app.message
            .as_ref()
            .is_some_and(|why| why.contains("no such ports"))
    );
    assert_eq!((app.lines.len(), app.filter.as_str()), (1, "450"));
    app.press(Press::Escape);
    assert_eq!(app.lines.len(), 100);
    characters(&mut app, "/9");
    app.press(Press::Back);
    app.press(Press::Escape);
    assert_eq!((app.lines.len(), app.typing.clone()), (100, None));
}

#[test]
fn a_line_stays_selected_while_new_ones_come() {
    let mut app = app(Vec::new(), None);
    app.list
        .take_live((0..50).map(flow).collect(), Told::default());
    app.refresh();
    app.resize(10);
    app.press(Press::Move(5));
    let selected = app.lines[app.selected].key.clone();
    app.list
        .take_live((0..90).map(flow).collect(), Told::default());
    app.refresh();
    assert_eq!(app.lines[app.selected].key, selected);
    assert!((app.top..app.top + 10).contains(&app.selected));
    assert_eq!(
        app.list.marked(),
        (40, 0),
        "what was not there at the beginning"
    );
    app.press(Press::End);
    assert_eq!(app.selected, 89);
    app.press(Press::Page(1));
    app.press(Press::Home);
    assert_eq!((app.selected, app.top), (0, 0));
    app.list.take_live(vec![flow(3)], Told::default());
    app.refresh();
    assert_eq!((app.lines.len(), app.selected), (1, 0));
}

#[test]
fn what_the_baseline_lacks_is_marked() {
    let baseline = Known::new(Listing {
        captures: vec![Capture::default()],
        flows: (0..30).map(flow).collect(),
        ..Listing::default()
    });
    let mut app = app((20..50).map(flow).collect(), Some(baseline));
    assert_eq!(app.list.marked(), (0, 20));
    characters(&mut app, "n");
    assert_eq!(app.lines.len(), 20);
    assert!(app.lines.iter().all(|line| line.mark() == '!'));
}

#[test]
fn members_of_a_line_stand_below_it_and_count_once() {
    let mut app = app((0..60).map(flow).collect(), None);
    characters(&mut app, "ggg");
    let servers = app.lines.len();
    let members = app.lines[0].members.len();
    app.press(Press::Enter);
    assert_eq!(app.lines.len(), servers + members);
    assert!(app.lines[1..=members].iter().all(|line| line.is_member));
    assert_eq!(app.shown().len(), 60);
    app.press(Press::Enter);
    assert_eq!(app.lines.len(), servers);
}

#[test]
fn rates_are_a_second_and_of_the_last_minute() {
    let mut list = List::new(Services::default(), Names::default(), None);
    let figures = |events: u64| Figures {
        events,
        flows: events / 10,
        missed: 0,
    };
    list.step(figures(100), 1.0);
    assert!(list.curves.events.is_empty(), "what came before is no rate");
    list.step(figures(300), 2.0);
    assert_eq!(
        (list.curves.events.back(), list.curves.new.back()),
        (Some(&100), Some(&10))
    );
    (0..100).for_each(|_| list.step(figures(300), 1.0));
    assert_eq!(list.curves.events.len(), super::list::STEPS);
    assert_eq!(list.curves.events.back(), Some(&0));
}

#[test]
fn names_rules_and_verdicts_are_shown_where_they_are_known() {
    let ruled = |verdict: &str, chain: &str| {
        std::sync::Arc::new(Ruled {
            seen: None,
            verdict: verdict.to_owned(),
            rules: vec![Decision {
                hook: None,
                family: "inet".to_owned(),
                table: "filter".to_owned(),
                chain: chain.to_owned(),
                handle: Some(7),
                text: Some(format!("tcp dport 443 comment {HOSTILE:?} {verdict}")),
                verdict: verdict.to_owned(),
            }],
        })
    };
    let time = |us| Timestamp::from_us(us).unwrap();
    let (one, other, stopped) = (flow(1), flow(2), flow(3));
    let mut told = Told::default();
    told.rules
        .insert(one.record.identity.clone(), ruled("accepted", "forward"));
    let learnt = Learnt {
        name: "www.example.com".to_owned(),
        first: time(5),
        last: time(6),
    };
    told.learn(&one.record.identity, vec![learnt]);
    told.denied.push(Denied {
        flow: stopped,
        ruled: Some(ruled("dropped", "input")),
    });
    let mut names = Names::default();
    names.add("10.0.0.2".parse().unwrap(), HOSTILE.to_owned());
    let mut list = List::new(Services::default(), names, None);
    list.take_stored(vec![one, other], told);
    let mut app = App::new(list, Wanted::default(), parse);
    app.refresh();
    let wide = (140, 24);
    for (name, shown) in [("*.example.com", true), ("*.example.org", false)] {
        app.apply(format!("name {name}"));
        let text = screen(&mut app, wide).join("\n");
        assert_eq!(text.contains("www.example.com"), shown, "{name}: {text}");
    }
    app.apply(String::new());
    let text = screen(&mut app, wide).join("\n");
    for wanted in [
        "2 flows",
        "1 denied",
        "198.51.100.1 www.example.com",
        "10.0.0.2 \\x1b[2J",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let row = |text: &str, part: &str| {
        text.lines()
            .find(|line| line.contains(part))
            .map(str::to_owned)
    };
    assert!(
        row(&text, "443/")
            .or(row(&text, "443"))
            .unwrap()
            .contains("denied"),
        "{text}"
    );
    assert!(!text.contains('\x1b'));
    // Narrow, the name stands alone.
    let narrow = screen(&mut app, (80, 24)).join("\n");
    assert!(narrow.contains(" www.example.com"), "{narrow}");

    let mut lines = Vec::new();
    plain::write(&app, &Head::default(), &mut lines).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    assert!(
        lines.contains(" to 198.51.100.1 www.example.com: "),
        "{lines}"
    );
    assert!(
        lines.contains("1 denied") && !lines.contains('\x1b'),
        "{lines}"
    );

    app.press(Press::Home);
    for (presses, wanted) in [
        (
            5,
            &[
                "RULE",
                "inet filter forward: tcp dport 443",
                "inet filter input",
                "not known",
            ][..],
        ),
        (1, &["VERDICT", "accepted", "dropped", "not known"]),
    ] {
        characters(&mut app, &"g".repeat(presses));
        let text = screen(&mut app, wide).join("\n");
        for wanted in wanted {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(!text.contains('\x1b'));
    }
    characters(&mut app, "g");
    assert_eq!(app.wanted.group, Group::Flow);
    // All that is known of a flow, and no rule for one that was denied.
    app.press(Press::End);
    app.press(Press::Enter);
    let text = screen(&mut app, wide).join("\n");
    assert!(
        text.contains("asked for    www.example.com (1970-01-01T00:00:00.000005Z to"),
        "{text}"
    );
    assert!(
        text.contains("verdict      accepted by inet filter forward"),
        "{text}"
    );
    app.press(Press::Escape);
    app.press(Press::Home);
    app.press(Press::Character('r'));
    let text = screen(&mut app, wide).join("\n");
    assert!(
        text.contains("No rule for 1 flow that was denied"),
        "{text}"
    );
}

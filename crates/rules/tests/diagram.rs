//! Pictures: what they show, and that no name can break them.

mod common;
mod patience;

use common::{steps, template};
use patience::patience;
use proptest::prelude::*;
use tasker_rules::engine::state::StepState;
use tasker_rules::operations::diagram::{
    DiagramModel, Format, Node, dot, draw, html, is_link_template, json, link, mermaid, svg,
};

fn node(step_no: i16, name: &str, state: StepState) -> Node {
    Node {
        step_no,
        id: None,
        url: None,
        name: name.to_owned(),
        state: Some(state),
        waits_for_retry: false,
        unreachable: false,
        attempts: Some(2),
        retry_limit: 3,
        duration_ms: Some(1_250),
        note: None,
    }
}

fn model() -> DiagramModel {
    DiagramModel {
        title: "default.t@1.0.0".to_owned(),
        url: None,
        nodes: vec![
            node(1, "fetch", StepState::Complete),
            node(2, "store", StepState::Error),
            Node {
                attempts: Some(0),
                duration_ms: None,
                ..node(3, "notify", StepState::Pending)
            },
        ],
        edges: vec![(1, 2), (2, 3), (3, 99)],
    }
}

#[test]
fn mermaid_shows_steps_edges_states_attempts_and_duration() {
    let expected = "graph TD
    accTitle: default.t@1.0.0
    s1[\"fetch<br/>complete, attempt 2 of 3, 1.2 s\"]:::complete
    s2[\"store<br/>error, attempt 2 of 3, 1.2 s\"]:::error
    s3[\"notify<br/>pending\"]:::pending
    s1 --> s2
    s2 --> s3
    classDef pending fill:#f3f4f6,stroke:#6b7280,color:#111827
    classDef error fill:#fee2e2,stroke:#dc2626,color:#111827
    classDef complete fill:#dcfce7,stroke:#16a34a,color:#111827
";
    assert_eq!(mermaid(&model()), expected);
}

#[test]
fn a_step_that_waits_for_its_retry_and_one_that_cannot_run_say_so_in_every_form() {
    let mut model = model();
    let failed = [&mermaid(&model), &dot(&model), &svg(&model)].map(String::clone);
    model.nodes[1].waits_for_retry = true;
    model.nodes[2].unreachable = true;
    let waiting = [mermaid(&model), dot(&model), svg(&model)];
    for (before, after) in failed.iter().zip(&waiting) {
        assert!(
            before.contains("#fee2e2") && !after.contains("#fee2e2"),
            "{after}"
        );
        assert!(after.contains("waiting for retry") && after.contains("unreachable"));
        assert!(!before.contains("waiting for retry") && !before.contains("unreachable"));
    }
    assert!(
        waiting[0].contains(":::waiting_for_retry") && waiting[0].contains("classDef unreachable ")
    );
    assert!(
        waiting[2].contains("<g class=\"unreachable\">") && waiting[2].contains("stroke-dasharray")
    );
    // Only what the state leaves open is said.
    model.nodes[0].waits_for_retry = true;
    model.nodes[0].unreachable = true;
    assert!(mermaid(&model).contains("fetch<br/>complete"));
}

#[test]
fn mermaid_names_cannot_end_their_label() {
    let mut model = model();
    model.nodes[0].name = "a\"] --> b; %%{x}\n<script>`#&\\".to_owned();
    let text = mermaid(&model);
    let line = text
        .lines()
        .find(|line| line.contains("s1["))
        .expect("there");
    assert_eq!(
        line,
        "    s1[\"a#34;#93; --#62; b#59; #37;#37;#123;x#125; #60;script#62;#96;#35;#38;#92;\
         <br/>complete, attempt 2 of 3, 1.2 s\"]:::complete"
    );
    model.nodes[0].name = "größe 数据".to_owned();
    assert!(mermaid(&model).contains("größe 数据"));
}

#[test]
fn a_mermaid_title_cannot_end_its_line_or_begin_a_directive() {
    let mut model = model();
    model.title = "t\n%%{init: {\"theme\": \"dark\"}}%% #1; <b>".to_owned();
    let text = mermaid(&model);
    assert_eq!(
        text.lines().nth(1),
        Some(
            "    accTitle: t #37;#37;#123;init: #123;#34;theme#34;: #34;dark#34;#125;#125;#37;#37; #35;1#59; #60;b#62;"
        )
    );
    assert!(
        text.lines()
            .nth(2)
            .is_some_and(|line| line.starts_with("    s1["))
    );
}

#[test]
fn dot_shows_the_same() {
    let text = dot(&model());
    assert!(text.starts_with("digraph \"default.t@1.0.0\" {\n"));
    assert!(text.contains(
        "s2 [label=\"store\\nerror, attempt 2 of 3, 1.2 s\", fillcolor=\"#fee2e2\", color=\"#dc2626\", \
         fontcolor=\"#111827\"];"
    ));
    assert!(text.contains("    s1 -> s2;\n") && !text.contains("s99") && text.ends_with("}\n"));
}

#[test]
fn dot_names_cannot_end_their_string() {
    let mut model = model();
    model.nodes[0].name = "a\\\" -> \\N & \n <b>".to_owned();
    assert!(dot(&model).contains("label=\"a\\\\\\\" -> \\\\N &amp;   <b>\\ncomplete"));
}

#[test]
fn svg_shows_the_same_and_shortens_long_names() {
    let mut model = model();
    model.nodes[0].name =
        "a_very_long_step_name_that_no_box_can_hold_in_two_lines_of_text_however_wide_it_is"
            .to_owned();
    model.nodes[1].note = Some("worker <7> & \"co\"".to_owned());
    let text = svg(&model);
    assert!(
        text.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && text.ends_with("</svg>\n")
    );
    assert!(
        text.contains(
            "<title>a_very_long_step_name_that_no_box_can_hold_in_two_lines_of_text_however_wide_it_is\ncomplete"
        )
    );
    assert!(text.contains("…</text>"));
    assert!(text.contains("worker &lt;7&gt; &amp; &quot;co&quot;"));
    assert!(text.contains("<g class=\"error\">") && text.contains("attempt 2/3 · 1.2 s"));
    assert_eq!(text.matches("marker-end").count(), 2);
}

#[test]
fn a_template_is_drawn_without_states() {
    let model = DiagramModel::of_template(&template(&steps("a\nb: a")));
    assert_eq!(
        mermaid(&model),
        "graph TD\n    accTitle: default.t@0.1.0\n    s1[\"a<br/>H\"]\n    s2[\"b<br/>H\"]\n    s1 --> s2\n"
    );
    assert!(svg(&model).contains("<g class=\"template\">"));
}

#[test]
fn durations_are_written_in_readable_units() {
    let shown = |ms| {
        let mut model = model();
        model.nodes[0].duration_ms = Some(ms);
        let text = mermaid(&model);
        text.lines()
            .nth(2)
            .and_then(|line| line.split("3, ").nth(1))
            .map(|rest| rest.split('"').next().unwrap_or_default().to_owned())
    };
    for (ms, expected) in [
        (-5, "0 ms"),
        (0, "0 ms"),
        (999, "999 ms"),
        (59_999, "59.9 s"),
        (185_000, "3 min 5 s"),
        (7_500_000, "2 h 5 min"),
        (273_600_000, "3 d 4 h"),
        (i64::MAX, "106751991167 d 7 h"),
    ] {
        assert_eq!(shown(ms).as_deref(), Some(expected));
    }
}

#[test]
fn a_format_is_one_of_five_words() {
    for (word, beginning) in [
        ("mermaid", "graph TD"),
        ("dot", "digraph"),
        ("svg", "<svg"),
        ("html", "<!DOCTYPE html>"),
        ("json", "{"),
    ] {
        let format: Format = word.parse().expect("known");
        assert!(draw(&model(), format).starts_with(beginning));
    }
    assert_eq!(
        "png".parse::<Format>(),
        Err("unknown diagram format \"png\"; use mermaid, dot, svg, html or json".to_owned())
    );
}

#[test]
fn empty_and_cyclic_graphs_are_drawn_too() {
    for format in [
        Format::Mermaid,
        Format::Dot,
        Format::Svg,
        Format::Html,
        Format::Json,
    ] {
        assert!(!draw(&DiagramModel::default(), format).is_empty());
        let mut cyclic = model();
        cyclic.edges = vec![(1, 2), (2, 1), (3, 3), (1, 2)];
        assert!(!draw(&cyclic, format).is_empty());
    }
}

#[test]
fn a_picture_of_thousands_of_steps_takes_little_time() {
    let nodes = (1..=5_000)
        .map(|step| node(step, "n", StepState::Pending))
        .collect();
    let edges = (2..=5_000)
        .flat_map(|step| [(step / 2, step), (1, step)])
        .collect();
    let began = std::time::Instant::now();
    let text = svg(&DiagramModel {
        title: "t".into(),
        url: None,
        nodes,
        edges,
    });
    assert!(text.len() > 1_000_000);
    assert!(began.elapsed() < patience(20));
}

/// Every quote, bracket and angle of the document itself is where it should be, whatever the texts are.
fn is_well_formed_xml(text: &str) -> bool {
    let mut open: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        if rest[..at].contains('>') {
            return false;
        }
        let Some(end) = rest[at..].find('>') else {
            return false;
        };
        let tag = &rest[at + 1..at + end];
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap_or_default()
            .to_owned();
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return false;
            }
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        rest = &rest[at + end + 1..];
    }
    open.is_empty()
}

proptest! {
    #[test]
    fn no_text_breaks_a_picture(title in ".{0,30}", name in "[ -~\\n\u{0}-\u{1f}äß数🙂]{0,60}", note in ".{0,90}") {
        let mut model = model();
        model.title = title;
        model.nodes[0].name = name;
        model.nodes[0].note = Some(note);
        let picture = svg(&model);
        prop_assert!(is_well_formed_xml(&picture), "{picture}");
        let page = html(&model);
        let page = page.strip_prefix("<!DOCTYPE html>").expect("its first line");
        prop_assert!(is_well_formed_xml(page), "{page}");
        prop_assert!(serde_json::from_str::<serde_json::Value>(&json(&model)).is_ok());
        prop_assert!(!picture.chars().any(|c| c.is_control() && c != '\n'));
        let text = mermaid(&model);
        let expected = 1 + usize::from(!model.title.trim().is_empty()) + 3 + 2 + 3;
        prop_assert_eq!(text.lines().count(), expected, "{}", text);
        let line = text.lines().find(|line| line.starts_with("    s1[")).expect("there");
        prop_assert_eq!(line.matches('"').count(), 2);
        let drawn = dot(&model);
        prop_assert_eq!(drawn.lines().count(), 1 + 3 + 3 + 2 + 1, "{}", drawn);
    }
}

// ---- links ------------------------------------------------------------------------------------------------------------

const KNOWN: [&str; 3] = ["task_uuid", "step_uuid", "name"];

#[test]
fn a_link_is_of_http_or_https_or_relative() {
    for template in [
        "",
        "https://ops.example/tasks/{task_uuid}/steps/{step_uuid}?name={name}#top",
        "HTTP://10.0.0.1:8080/{step_uuid}",
        "https://[::1]/a",
        "/tasks/{task_uuid}",
        "steps/{step_uuid}?at=12:30",
        "?step={step_uuid}",
        "{step_uuid}",
        "//ops.example/{name}",
    ] {
        assert!(is_link_template(template, &KNOWN), "{template}");
    }
    for template in [
        "javascript:alert(1)",
        "JavaScript:alert('{name}')",
        "java\tscript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "{name}:x",
        "https://{name}/",
        "https:///x",
        "https:x",
        "/a/{other}",
        "/a/{name",
        "/a/name}",
        "/a/{{name}}",
        "/a b",
        "/a\"onclick=x",
        "/a'",
        "/<b>",
        "/a\\b",
        "/\u{e4}",
        "/a\n",
    ] {
        assert!(!is_link_template(template, &KNOWN), "{template}");
        assert_eq!(
            link(
                template,
                &[("name", "x"), ("task_uuid", ""), ("step_uuid", "")]
            ),
            None
        );
    }
}

#[test]
fn values_in_a_link_are_percent_encoded() {
    let places = [("name", "a b/\u{e4}\"<'&?#%:{name}"), ("task_uuid", "0-1")];
    assert_eq!(
        link("/t/{task_uuid}?n={name}&again={name}", &places).as_deref(),
        Some(
            "/t/0-1?n=a%20b%2F%C3%A4%22%3C%27%26%3F%23%25%3A%7Bname%7D\
             &again=a%20b%2F%C3%A4%22%3C%27%26%3F%23%25%3A%7Bname%7D"
        )
    );
    assert_eq!(link("", &places), None);
}

#[test]
fn every_form_leads_where_its_model_says() {
    let mut model = model();
    model.url = Some("https://ops.example/tasks/7?a=1&b=2".to_owned());
    model.nodes[1].url = Some("/steps/2?a=1&b=2;c".to_owned());
    model.nodes[1].id = Some("0190-2".to_owned());
    assert!(mermaid(&model).contains("\n    click s2 href \"/steps/2?a=1&b=2%3Bc\"\n"));
    let drawn = dot(&model);
    assert!(drawn.contains(", URL=\"https://ops.example/tasks/7?a=1&amp;b=2\"];"));
    assert!(drawn.contains(", URL=\"/steps/2?a=1&amp;b=2;c\"];"));
    for drawn in [svg(&model), html(&model)] {
        assert!(drawn.contains("<a href=\"https://ops.example/tasks/7?a=1&amp;b=2\"><text "));
        assert!(drawn.contains("<a href=\"/steps/2?a=1&amp;b=2;c\"><g class=\"error\">"));
        assert!(is_well_formed_xml(
            drawn.trim_start_matches("<!DOCTYPE html>")
        ));
    }
    assert!(html(&model).contains("<td><a href=\"/steps/2?a=1&amp;b=2;c\">store</a></td>"));
    assert_eq!(mermaid(&model).matches("click").count(), 1);
}

// ---- HTML and JSON ----------------------------------------------------------------------------------------------------

#[test]
fn a_page_holds_the_picture_and_whole_texts_and_loads_nothing() {
    let mut model = model();
    let long = format!("</td><script>alert(1)</script>{}", "x".repeat(300));
    model.nodes[1].note = Some(long);
    let page = html(&model);
    assert!(page.contains(&svg(&model)));
    assert!(page.contains(&format!(
        "<tr><td>store</td><td>error</td><td class=\"number\">2/3</td><td class=\"number\">1.2 s</td>\
         <td>&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;{}</td></tr>",
        "x".repeat(300)
    )));
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    for loads in ["<script", "<link", "<img", "src=", "@import", "url(http"] {
        assert!(!page.contains(loads), "{loads}");
    }
}

#[test]
fn json_has_nodes_edges_and_states() {
    let mut model = model();
    model.nodes[0].id = Some("0190-1".to_owned());
    model.nodes[1].waits_for_retry = true;
    let found: serde_json::Value = serde_json::from_str(&json(&model)).expect("JSON");
    let expected = serde_json::json!({
        "title": "default.t@1.0.0",
        "url": null,
        "nodes": [
            {"id": "0190-1", "name": "fetch", "level": 0, "state": "complete", "waits_for_retry": false,
             "unreachable": false, "attempts": 2, "retry_limit": 3, "duration_ms": 1250, "note": null, "url": null},
            {"id": "s2", "name": "store", "level": 1, "state": "error", "waits_for_retry": true,
             "unreachable": false, "attempts": 2, "retry_limit": 3, "duration_ms": 1250, "note": null, "url": null},
            {"id": "s3", "name": "notify", "level": 2, "state": "pending", "waits_for_retry": false,
             "unreachable": false, "attempts": 0, "retry_limit": 3, "duration_ms": null, "note": null, "url": null},
        ],
        "edges": [
            {"from": "0190-1", "to": "s2", "name": "provides", "satisfied": true},
            {"from": "s2", "to": "s3", "name": "provides", "satisfied": false},
        ],
    });
    assert_eq!(found, expected);
}

// ---- the whole SVG, read back ---------------------------------------------------------------------------------------

/// The number of an attribute of a tag.
fn number(tag: &str, attribute: &str) -> f64 {
    let from = tag
        .find(&format!(" {attribute}=\""))
        .unwrap_or_else(|| panic!("no {attribute} in {tag}"))
        + attribute.len()
        + 3;
    let text: String = tag[from..].chars().take_while(|c| *c != '"').collect();
    text.parse().expect("a number")
}

/// Left, top, right, bottom of each card, and of its texts as wide as DejaVu Sans draws their widest letters.
#[allow(clippy::type_complexity)]
fn cards(picture: &str) -> Vec<((f64, f64, f64, f64), Vec<(f64, f64, f64, f64)>)> {
    picture
        .split("<g class=\"")
        .skip(1)
        .map(|group| {
            let card = group.split("<rect").nth(1).expect("a card");
            let (x, y) = (number(card, "x"), number(card, "y"));
            let card = (x, y, x + number(card, "width"), y + number(card, "height"));
            let texts = group.split("<text").skip(1).map(|text| {
                let words = text
                    .split('>')
                    .nth(1)
                    .and_then(|text| text.split('<').next());
                let (x, y, size) = (
                    number(text, "x"),
                    number(text, "y"),
                    number(text, "font-size"),
                );
                // DejaVu Sans Bold: lower case letters and digits are at most 0.72 wide, but m and w; _ is 0.5.
                let em: f64 = words
                    .unwrap_or_default()
                    .chars()
                    .map(|c| match c {
                        'm' => 1.05,
                        'w' => 0.93,
                        '_' => 0.5,
                        'i' | 'l' | 'j' | ' ' | '.' | ',' | '/' | ':' => 0.38,
                        'f' | 't' | 'r' | '-' => 0.5,
                        '…' => 1.0,
                        _ => 0.72,
                    })
                    .sum();
                let wide = em
                    * size
                    * if text.contains("font-weight=\"bold\"") {
                        1.0
                    } else {
                        0.89
                    };
                let (left, right) = if text.contains("text-anchor=\"end\"") {
                    (x - wide, x)
                } else {
                    (x, x + wide)
                };
                (left, y - size, right, y + 3.0)
            });
            (card, texts.collect())
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cards_do_not_overlap_and_their_texts_fit(
        names in prop::collection::vec("[a-z][a-z0-9_]{0,70}", 1..51),
        pairs in prop::collection::btree_set((1i16..51, 1i16..51), 0..100),
        states in prop::collection::vec(0usize..6, 51),
        note in "[a-z ]{0,80}",
    ) {
        let count = names.len() as i16;
        let nodes: Vec<Node> = names
            .iter()
            .zip(1..)
            .map(|(name, no)| Node {
                duration_ms: Some(1_234_567),
                note: (no % 3 == 0).then(|| note.clone()),
                ..node(no, name, StepState::ALL[states[no as usize]])
            })
            .collect();
        let edges = pairs.into_iter().filter(|(from, to)| from < to && *to <= count).collect();
        let picture = svg(&DiagramModel { title: "default.t@1.0.0".into(), url: None, nodes, edges });
        let (width, height) = (number(&picture, "width"), number(&picture, "height"));
        let found = cards(&picture);
        prop_assert_eq!(found.len(), names.len());
        for (index, (card, texts)) in found.iter().enumerate() {
            prop_assert!(card.0 >= 0.0 && card.1 >= 60.0 && card.2 <= width && card.3 <= height);
            for (other, _) in &found[index + 1..] {
                let apart = card.2 < other.0 || other.2 < card.0 || card.3 < other.1 || other.3 < card.1;
                prop_assert!(apart, "{card:?} {other:?}");
            }
            for (at, text) in texts.iter().enumerate() {
                prop_assert!(text.0 >= card.0 && text.2 <= card.2 && text.1 >= card.1 && text.3 <= card.3, "{text:?} {card:?}");
                for other in &texts[at + 1..] {
                    let apart = text.2 <= other.0 || other.2 <= text.0 || text.3 <= other.1 + 4.0 || other.3 <= text.1 + 4.0;
                    prop_assert!(apart, "{text:?} {other:?}");
                }
            }
        }
    }
}

#[test]
fn edges_into_one_step_end_apart() {
    let parents = 12;
    let nodes = (1..=parents + 1).map(|no| node(no, "n", StepState::Pending));
    let picture = svg(&DiagramModel {
        nodes: nodes.collect(),
        edges: (1..=parents).map(|no| (no, parents + 1)).collect(),
        ..DiagramModel::default()
    });
    let mut ends: Vec<f64> = picture
        .split("<path d=\"")
        .skip(2)
        .map(|path| {
            let path = path.split('"').next().unwrap_or_default();
            let x = path.rsplit(['M', ' ']).nth(1).unwrap_or_default();
            x.parse().unwrap_or_else(|_| panic!("{path}"))
        })
        .collect();
    ends.sort_by(f64::total_cmp);
    assert_eq!(ends.len(), 12);
    assert!(
        ends.windows(2).all(|pair| pair[1] - pair[0] > 12.0),
        "{ends:?}"
    );
}

#[test]
fn an_svg_describes_itself_in_words() {
    let text = svg(&model());
    let id = text
        .split("aria-labelledby=\"")
        .nth(1)
        .and_then(|rest| rest.split("-title").next())
        .expect("an id");
    assert!(text.contains("role=\"img\""));
    assert!(text.contains(&format!("<title id=\"{id}-title\">default.t@1.0.0</title>")));
    assert!(text.contains(&format!(
        "<desc id=\"{id}-desc\">Workflow of 3 steps, 2 dependencies: 1 pending, 1 error, 1 complete.</desc>"
    )));
    // The legend, and nothing from elsewhere.
    assert!(text.contains(">pending 1</text>") && text.contains(">error 1</text>"));
    assert!(!text.contains("href") && !text.contains("<script") && !text.contains("<style"));
    assert_eq!(text.matches("http").count(), 1);
    // Two pictures in one page do not share names.
    let mut other = model();
    other.title.push('x');
    assert!(!svg(&other).contains(&format!("{id}-")));
}

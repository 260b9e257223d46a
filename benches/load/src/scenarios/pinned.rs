//! Throughput while another session holds a snapshot and a transaction id: dead rows stay where they are.

use anyhow::Result;
use postgres::Client;

use crate::checks;
use crate::cli::PinnedArgs;
use crate::connect::Server;
use crate::lane::{Lane, Window};
use crate::report::{self, Spread, number};
use crate::setup;

/// Windows without and with the pin take turns, the first of each pair alternating.
pub fn run(server: &Server, admin: &mut Client, args: &PinnedArgs) -> Result<bool> {
    let load = &args.load;
    println!(
        "\n## pinned-xmin: {}\n\n{}.",
        args.shape.name(),
        load.describe()
    );
    let mut lane = Lane::open(
        server,
        admin,
        args.shape,
        load.order,
        load.clients,
        &load.manner(),
        None,
    )?;
    let mut pin = server.connect()?;
    let mut pairs = Vec::new();
    for round in 0..load.rounds {
        lane.warm_up(admin, load.warmup)?;
        let pinned_first = round % 2 == 1;
        let first = window(admin, &mut lane, &mut pin, load.seconds, pinned_first)?;
        let second = window(admin, &mut lane, &mut pin, load.seconds, !pinned_first)?;
        pairs.push(if pinned_first {
            (second, first)
        } else {
            (first, second)
        });
    }
    report::head(&[
        "round",
        "free steps/s",
        "pinned steps/s",
        "share",
        "last third: free",
        "pinned",
        "share",
    ]);
    for (no, (free, pinned)) in pairs.iter().enumerate() {
        let (all, end) = (|window: &Window| window.steps_per_second(), last_third);
        report::row(&[
            (no + 1).to_string(),
            number(all(free), 0),
            number(all(pinned), 0),
            number(all(pinned) / all(free), 2),
            number(end(free), 0),
            number(end(pinned), 0),
            number(end(pinned) / end(free), 2),
        ]);
    }
    let share = |of: fn(&Window) -> f64| {
        Spread::of(pairs.iter().map(|(free, pinned)| of(pinned) / of(free))).show(2)
    };
    println!(
        "\nUnder the pin {} of the throughput without; in the last third of the window {}.",
        share(Window::steps_per_second),
        share(last_third)
    );
    let slices = |window: &Window| {
        let step = (window.tally.per_second.len() / 6).max(1);
        let rates = window
            .tally
            .per_second
            .chunks(step)
            .filter(|chunk| chunk.len() == step);
        rates
            .map(|chunk| number(chunk.iter().sum::<u64>() as f64 / step as f64, 0))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some((free, pinned)) = pairs.last() {
        println!(
            "Steps/s over the last round: free {}; pinned {}.",
            slices(free),
            slices(pinned)
        );
    }
    Ok(report::checks(&lane, &checks::lane(admin, &lane)?))
}

fn window(
    admin: &mut Client,
    lane: &mut Lane,
    pin: &mut Client,
    seconds: f64,
    pinned: bool,
) -> Result<Window> {
    lane.top_up(admin, seconds + 1.0)?;
    setup::settle(admin)?;
    if !pinned {
        return lane.measure_now(admin, seconds);
    }
    pin.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()")?;
    let window = lane.measure_now(admin, seconds);
    pin.batch_execute("ROLLBACK")?;
    window
}

fn last_third(window: &Window) -> f64 {
    // The last second is not a whole one.
    let whole =
        &window.tally.per_second[..(window.seconds as usize).min(window.tally.per_second.len())];
    let end = &whole[whole.len() - whole.len().div_ceil(3)..];
    end.iter().sum::<u64>() as f64 / end.len().max(1) as f64
}

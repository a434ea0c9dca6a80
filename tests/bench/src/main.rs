//! `promarchive-bench`: the command.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use promarchive_bench::Result;
use promarchive_bench::floor::bytes_per_sample;
use promarchive_bench::load::{Load, Name};
use promarchive_bench::measure::{Files, Workplace};
use promarchive_bench::receiver::{Kind, Receiver};
use promarchive_bench::report::Report;
use promarchive_model::Protocol;

/// Samples of each series of the figure `large`.
const MANY_SERIES_SCRAPES: usize = 2;

/// Measures promarchive beside other receivers of remote write: the same requests, the same machine, one after the other.
#[derive(Debug, Parser)]
#[command(
    name = "promarchive-bench",
    version,
    max_term_width = 100,
    after_help = "Example:\n  promarchive-bench --receiver target/release/promarchive --receiver prometheus --load real --figure throughput"
)]
struct Arguments {
    /// A program to measure, told by its name: promarchive, prometheus or victoria-metrics; several times.
    #[arg(long = "receiver", value_name = "PROGRAM", required = true)]
    receivers: Vec<PathBuf>,
    /// What to send.
    #[arg(long = "load", value_delimiter = ',', default_value = "real,50k,200k,2h")]
    loads: Vec<Name>,
    /// In which version of remote write.
    #[arg(long = "protocol", value_delimiter = ',', default_value = "v1,v2")]
    protocols: Vec<Version>,
    /// What to measure.
    #[arg(
        long = "figure",
        value_delimiter = ',',
        default_value = "throughput,connections,files,latency,restart,large"
    )]
    figures: Vec<Figure>,
    /// How often to measure each; the tables show medians.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Over how many connections a load is sent, at most; and for `connections` each of these.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    connections: Vec<usize>,
    /// Threads of other work on memory beside a receiver that takes a load, for all who are measured.
    #[arg(long, default_value_t = 0)]
    neighbours: usize,
    /// Samples a second when the time of an answer is measured.
    #[arg(long, default_value_t = 100_000.0)]
    rate: f64,
    /// For how many seconds it is measured.
    #[arg(long, default_value_t = 30)]
    latency_seconds: u64,
    /// Series of the figure `large`.
    #[arg(long, default_value_t = 5_000_000)]
    series: usize,
    /// Directory for the receivers' data: on a real disk, or a sync costs nothing.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Version {
    V1,
    V2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// Each load as fast as it is taken: processor time, memory, bytes.
    Throughput,
    /// 200,000 series over 1, 2 and 4 connections: samples a second, and how busy the processors are.
    Connections,
    /// The same with a flush every five minutes of the load, and what no files could go below.
    Files,
    /// The time of an answer at a steady rate.
    Latency,
    /// The time to be ready again after a SIGKILL.
    Restart,
    /// Five million series, of promarchive only: memory, replay, flush, restart.
    Large,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) => {
            match arguments.output {
                Output::Text => println!("{report}"),
                Output::Json => println!("{}", report.json()),
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("promarchive-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report> {
    let kinds = arguments
        .receivers
        .iter()
        .map(|program| Ok(Receiver { kind: Kind::of_program(program)?, program: program.clone() }));
    let receivers: Vec<Receiver> = kinds.collect::<Result<_>>()?;
    let place = Workplace { root: arguments.dir.clone(), neighbours: arguments.neighbours };
    let mut report = Report::default();
    let most_connections = arguments.connections.iter().copied().max().unwrap_or(1);
    for &version in &arguments.protocols {
        let protocol = match version {
            Version::V1 => Protocol::V1,
            Version::V2 => Protocol::V2,
        };
        let measures = |figures: &[Figure]| arguments.figures.iter().any(|figure| figures.contains(figure));
        if measures(&[Figure::Throughput, Figure::Files]) {
            for &name in &arguments.loads {
                eprintln!("making the load {name} in {protocol:?}");
                let load = Load::new(name, protocol)?;
                take(arguments, &place, &receivers, &load.over(most_connections), &mut report)?;
            }
        }
        if measures(&[Figure::Connections]) {
            over_connections(arguments, &place, &receivers, protocol, &mut report)?;
        }
        if measures(&[Figure::Large]) {
            many_series(arguments, &place, &receivers, protocol, &mut report)?;
        }
        if measures(&[Figure::Latency, Figure::Restart]) {
            answers_and_restarts(arguments, &place, &receivers, protocol, &mut report)?;
        }
    }
    Ok(report)
}

fn take(
    arguments: &Arguments,
    place: &Workplace,
    receivers: &[Receiver],
    load: &Load,
    report: &mut Report,
) -> Result<()> {
    let Load { name, protocol, five_minutes, .. } = load;
    let floor = match arguments.figures.contains(&Figure::Files) {
        true => Some(bytes_per_sample(load, *five_minutes)?),
        false => None,
    };
    for run in 1..=arguments.runs {
        for receiver in receivers {
            let say = |how: &str| {
                eprintln!("{} takes {name} in {protocol:?}{how}, run {run} of {}", receiver.name(), arguments.runs);
            };
            if arguments.figures.contains(&Figure::Throughput) {
                say("");
                report.throughput.push(place.throughput(receiver, load, 1)?);
            }
            if let Some(floor_bytes_per_sample) = floor.filter(|_| receiver.kind == Kind::Promarchive) {
                say(", flushed every five minutes");
                let taken = place.throughput(receiver, load, *five_minutes)?;
                report.files.push(Files { taken, floor_bytes_per_sample });
            }
        }
    }
    Ok(())
}

fn over_connections(
    arguments: &Arguments,
    place: &Workplace,
    receivers: &[Receiver],
    protocol: Protocol,
    report: &mut Report,
) -> Result<()> {
    let load = Load::new(Name::TwoHundred, protocol)?;
    for run in 1..=arguments.runs {
        for &connections in &arguments.connections {
            let load = load.over(connections);
            for receiver in receivers {
                let name = receiver.name();
                eprintln!("{name} takes {protocol:?} over {connections} connections, run {run} of {}", arguments.runs);
                report.connections.push(place.throughput(receiver, &load, 1)?);
            }
        }
    }
    Ok(())
}

fn many_series(
    arguments: &Arguments,
    place: &Workplace,
    receivers: &[Receiver],
    protocol: Protocol,
    report: &mut Report,
) -> Result<()> {
    for receiver in receivers.iter().filter(|receiver| receiver.kind == Kind::Promarchive) {
        eprintln!("{} takes {} series in {protocol:?}", receiver.name(), arguments.series);
        report.large.push(place.large(receiver, protocol, arguments.series, MANY_SERIES_SCRAPES)?);
    }
    Ok(())
}

fn answers_and_restarts(
    arguments: &Arguments,
    place: &Workplace,
    receivers: &[Receiver],
    protocol: Protocol,
    report: &mut Report,
) -> Result<()> {
    let load = Load::new(Name::TwoHundred, protocol)?;
    let length = Duration::from_secs(arguments.latency_seconds);
    for receiver in receivers {
        for _ in 0..arguments.runs {
            if arguments.figures.contains(&Figure::Latency) {
                // Once undisturbed, and once while flushes go on beside the requests.
                let intervals: &[&str] = if receiver.kind == Kind::Promarchive { &["1d", "10s"] } else { &["1d"] };
                for flush in intervals {
                    eprintln!("{} answers {:?} at {} samples/s", receiver.name(), protocol, arguments.rate);
                    report.latency.push(place.latency(receiver, &load, arguments.rate, length, flush)?);
                }
            }
            if arguments.figures.contains(&Figure::Restart) {
                eprintln!("{} restarts with {} samples of {:?} in its WAL", receiver.name(), load.samples(), protocol);
                report.restart.push(place.restart(receiver, &load)?);
            }
        }
    }
    Ok(())
}

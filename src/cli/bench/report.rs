//! What was measured, as a table for people, for BENCHMARKS.md, or as JSON. Ratios and times that have an aim stand
//! first, the figures they come from beside them.

use std::fs;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value, json};

/// One line of the table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    section: &'static str,
    what: String,
    measured: String,
    aim: Option<(String, bool)>,
    beside: String,
    numbers: Map<String, Value>,
}

impl Row {
    pub(super) fn new(section: &'static str, what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self {
            section,
            what: what.into(),
            measured: measured.into(),
            aim: None,
            beside: String::new(),
            numbers: Map::new(),
        }
    }

    /// What was to be reached, and whether it was.
    pub(super) fn aim(mut self, aim: impl Into<String>, meets: bool) -> Self {
        self.aim = Some((aim.into(), meets));
        self
    }

    /// The figures that it comes from.
    pub(super) fn beside(mut self, figures: impl Into<String>) -> Self {
        self.beside = figures.into();
        self
    }

    /// A figure for programs.
    pub(super) fn number(mut self, name: &str, value: f64) -> Self {
        self.numbers.insert(name.to_owned(), json!(value));
        self
    }

    fn verdict(&self) -> &'static str {
        match self.aim {
            Some((_, true)) => "meets",
            Some((_, false)) => "misses",
            None => "",
        }
    }

    fn cells(&self) -> [String; 6] {
        let aim = self.aim.as_ref().map(|(aim, _)| aim.clone()).unwrap_or_default();
        [
            self.section.to_owned(),
            self.what.clone(),
            self.measured.clone(),
            aim,
            self.verdict().to_owned(),
            self.beside.clone(),
        ]
    }
}

const HEAD: [&str; 6] = ["section", "measurement", "measured", "aim", "verdict", "figures"];

/// Everything that was measured in one run.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) machine: String,
    pub(super) rows: Vec<Row>,
    /// What was lost, done twice, or could not be measured. Empty in a good run, however slow.
    pub(super) wrong: Vec<String>,
}

impl Report {
    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Notes something that must not be, however slow the machine.
    pub(super) fn must(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(otherwise());
        }
    }

    pub(super) fn print_table(&self) {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(HEAD.to_vec());
        for row in &self.rows {
            table.add_row(row.cells().to_vec());
        }
        say!("{}\n\n{table}", self.machine);
        for wrong in &self.wrong {
            say!("WRONG: {wrong}");
        }
    }

    /// As it stands in BENCHMARKS.md.
    pub(super) fn print_markdown(&self) {
        say!("{}\n", self.machine);
        say!("| {} |", HEAD.join(" | "));
        say!("|{}", "---|".repeat(HEAD.len()));
        for row in &self.rows {
            let cells = row.cells().map(|cell| cell.replace('|', "\\|"));
            say!("| {} |", cells.join(" | "));
        }
        for wrong in &self.wrong {
            say!("\nWRONG: {wrong}");
        }
    }

    pub(super) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "section": row.section,
                "measurement": row.what,
                "measured": row.measured,
                "aim": row.aim.as_ref().map(|(aim, _)| aim),
                "meets": row.aim.as_ref().map(|(_, meets)| meets),
                "figures": row.beside,
                "numbers": row.numbers,
            })
        });
        json!({ "machine": self.machine, "rows": rows.collect::<Vec<_>>(), "wrong": self.wrong })
    }
}

/// What it was measured on: cores, processor, memory, kind of build.
pub(super) fn machine(database: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let said = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let processor = said("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = said("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .map_or_else(|| "?".to_owned(), |kib| format!("{:.0} GiB", kib / 1048576.0));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!(
        "stepherd {} ({build}) on {database}; {cores} cores of {processor}, {memory}, {} {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        kernel.trim(),
    )
}

/// Durations, in order of length.
#[derive(Debug, Clone, Default)]
pub(super) struct Times(Vec<u64>);

impl Times {
    /// From microseconds.
    pub(super) fn of(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        Self(micros)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// In milliseconds: so many of a hundred were no longer than this.
    pub(super) fn percentile(&self, percent: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let place = (last as f64 * percent / 100.0).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place within the list"
        )]
        let micros = self.0.get(place as usize).copied().unwrap_or_default();
        micros as f64 / 1000.0
    }

    /// `p50 1.2 ms, p99 3.4 ms`.
    pub(super) fn short(&self) -> String {
        format!("p50 {}, p99 {}", ms(self.percentile(50.0)), ms(self.percentile(99.0)))
    }
}

/// Milliseconds, with as many digits as tell something.
pub(super) fn ms(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else if ms < 10_000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1000.0)
    }
}

/// Bytes, in MiB.
pub(super) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1048576.0)
}

/// The middle one.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

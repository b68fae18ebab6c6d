//! The figures of the kernels in `docs/kernels.md`, held against the formulas.
//!
//! A change of a kernel's registers, shared memory or bytes changes the table: with
//! `INSTA_UPDATE=always` the test writes it anew.

use std::fmt::Write;
use std::path::PathBuf;

use dataprep::runtime::ceiling::{
    Asked, Batch, Gpu, Kernel, Occupancy, Optimizer, Plan, Shape, kernels,
};

const BEGIN: &str = "<!-- figures: tests/kernels/figures.rs writes them -->\n";
const END: &str = "<!-- end of figures -->\n";
const NAMES: [&str; 3] = ["h200", "4090", "3090"];
/// 32 rows of 1,024 tokens fit into each of the three.
const BATCH: Batch = Batch { rows: 32, sequence: 1024, parts: 2 };

/// `124m` with AdamW and with Muon on one GPU, and the kernels that it launches.
struct Column {
    gpu: &'static Gpu,
    plans: [Plan; 2],
}

fn column(name: &str) -> Column {
    let shape = Shape::named("124m").unwrap();
    let asked =
        Asked { sequence: BATCH.sequence, rows: Some(BATCH.rows), parts: Some(BATCH.parts) };
    let (gpu, config) = (Gpu::named(name).unwrap(), shape.config().unwrap());
    let plans = [Optimizer::AdamW, Optimizer::Muon]
        .map(|optimizer| Plan::of(shape.name, &config, gpu, asked, optimizer).unwrap());
    Column { gpu, plans }
}

impl Column {
    fn milliseconds(&self, op: &str) -> Option<(u64, f64)> {
        let rows = self.plans.iter().flat_map(|plan| &plan.rows);
        let row = rows.into_iter().find(|row| row.op == op)?;
        Some((row.bytes, row.seconds * 1e3))
    }

    fn occupancy(&self, kernel: &Kernel) -> Occupancy {
        kernel.occupancy(self.gpu, 768).unwrap()
    }
}

fn three(values: impl Iterator<Item = String>) -> String {
    values.collect::<Vec<String>>().join(" / ")
}

fn figures() -> String {
    let columns = NAMES.map(column);
    let mut text = "| kernel | registers | shared, bytes | warps of 64 / 48 / 48 | GB a step | \
                    ms at the ceiling |\n|---|---|---|---|---|---|\n"
        .to_owned();
    let model = Shape::named("124m").unwrap().config().unwrap();
    for kernel in kernels().filter(|kernel| kernel.serves(&model)) {
        let found = columns.each_ref().map(|column| column.occupancy(&kernel));
        let times = columns.each_ref().map(|column| column.milliseconds(kernel.name()));
        let registers = three(found.iter().map(|one| one.registers.to_string()));
        let warps = three(found.iter().map(|one| one.warps.to_string()));
        let [bytes, time] = match times {
            [Some((bytes, _)), ..] => [
                format!("{:.2}", bytes as f64 / 1e9),
                three(times.iter().flatten().map(|(_, time)| format!("{time:.2}"))),
            ],
            _ => ["–", "–"].map(str::to_owned),
        };
        let (name, shared) = (kernel.name(), found[0].shared);
        let row = format!("| `{name}` | {registers} | {shared} | {warps} | {bytes} | {time} |");
        writeln!(text, "{row}").unwrap();
    }
    let is_product = |op: &str| kernels().all(|kernel| kernel.name() != op);
    let sum = |column: &Column, of_products: bool| -> f64 {
        let rows = column.plans[0].rows.iter();
        rows.filter(|row| is_product(&row.op) == of_products).map(|row| row.seconds * 1e3).sum()
    };
    let line = |of: &dyn Fn(&Column) -> f64, digits: usize| {
        three(columns.iter().map(|column| format!("{:.digits$}", of(column))))
    };
    let whole = |column: &Column| column.plans[0].seconds * 1e3;
    let rows = [
        ("kernels above, with AdamW", line(&|column| sum(column, false), 1)),
        ("products", line(&|column| sum(column, true), 1)),
        ("**a step**, ms", line(&whole, 1)),
        ("tokens/s", line(&|column| column.plans[0].tokens_per_second / 1e3, 0) + " thousand"),
        ("MFU (PaLM), %", line(&|column| column.plans[0].mfu * 100.0, 0)),
        ("a step with Muon, ms", line(&|column| column.plans[1].seconds * 1e3, 1)),
    ];
    for (what, value) in rows {
        writeln!(text, "| {what} | | | | | {value} |").unwrap();
    }
    text
}

#[test]
fn the_figures_in_the_documentation_are_those_of_the_formulas() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/kernels.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("where the figures begin");
    let (stands, after) = rest.split_once(END).expect("where they end");
    let wanted = figures();
    if stands == wanted {
        return;
    }
    let writes = std::env::var("INSTA_UPDATE").is_ok_and(|mode| mode == "always");
    assert!(writes, "docs/kernels.md has other figures than the formulas give:\n{wanted}");
    std::fs::write(&path, [before, BEGIN, &wanted, END, after].concat()).unwrap();
}

//! The text that Prometheus reads.

use std::fmt::Write as _;

use super::Histogram;

/// A page of metrics, written family by family.
pub(crate) struct Page {
    text: String,
    created: f64,
}

impl Page {
    /// An empty page about counters that began at this time.
    pub(crate) fn new(created: f64) -> Self {
        Page { text: String::with_capacity(32 << 10), created }
    }

    /// The whole text.
    pub(crate) fn text(self) -> String {
        self.text
    }

    /// Opens a family.
    pub(crate) fn family(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One value.
    pub(crate) fn row(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.text, "{name}{labels} {value:?}");
    }

    /// Values as they are now.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, rows: &[(String, f64)]) {
        self.family(name, help, "gauge");
        rows.iter().for_each(|(labels, value)| self.row(name, labels, *value));
    }

    /// Values that only grow, with the moment they began.
    pub(crate) fn counter(&mut self, name: &str, help: &str, rows: &[(String, f64)]) {
        let (total, created) = (format!("{name}_total"), format!("{name}_created"));
        self.family(&total, help, "counter");
        rows.iter().for_each(|(labels, value)| self.row(&total, labels, *value));
        self.family(&created, help, "gauge");
        let at = self.created;
        rows.iter().for_each(|(labels, _)| self.row(&created, labels, at));
    }

    /// How values are spread, by name of the model.
    pub(crate) fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl Iterator<Item = (&'a str, &'a Histogram)>,
    ) {
        self.family(name, help, "histogram");
        let float = |count: u64| count as f64;
        for (model, histogram) in rows {
            let mut below = 0;
            for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
                below += count;
                self.row(
                    &format!("{name}_bucket"),
                    &labels(model, &format!("le=\"{bound:?}\",")),
                    float(below),
                );
            }
            self.row(&format!("{name}_bucket"), &labels(model, "le=\"+Inf\","), float(histogram.count));
            self.row(&format!("{name}_count"), &labels(model, ""), float(histogram.count));
            self.row(&format!("{name}_sum"), &labels(model, ""), histogram.sum);
        }
    }
}

/// vLLM's labels in vLLM's order, which is alphabetical.
pub(crate) fn labels(model: &str, before_model: &str) -> String {
    let model = model.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{{engine=\"0\",{before_model}model_name=\"{model}\"}}")
}

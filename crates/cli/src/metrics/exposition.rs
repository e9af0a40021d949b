//! Families of metrics, and the text that Prometheus reads.

use std::collections::BTreeMap;
use std::time::Duration;

use armory_plugins::Latency;
use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Summary,
};

/// Names with values.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

/// The families so far, each once, in the order of their names.
#[derive(Default)]
pub(crate) struct Families(BTreeMap<&'static str, MetricFamily>);

impl Families {
    fn add(
        &mut self,
        name: &'static str,
        help: &str,
        kind: MetricType,
        labels: Labels<'_>,
        fill: impl FnOnce(&mut Metric),
    ) {
        let pairs = labels.iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut metric = Metric::from_label(pairs.collect());
        fill(&mut metric);
        let family = self.0.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(metric);
    }

    pub(crate) fn gauge(&mut self, name: &'static str, help: &str, labels: Labels<'_>, value: f64) {
        self.add(name, help, MetricType::GAUGE, labels, |metric| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        });
    }

    pub(crate) fn counter(
        &mut self,
        name: &'static str,
        help: &str,
        labels: Labels<'_>,
        value: u64,
    ) {
        self.add(name, help, MetricType::COUNTER, labels, |metric| {
            let mut counter = Counter::default();
            counter.set_value(value as f64);
            metric.set_counter(counter);
        });
    }

    pub(crate) fn summary(
        &mut self,
        name: &'static str,
        help: &str,
        labels: Labels<'_>,
        count: u64,
        sum: Duration,
    ) {
        self.add(name, help, MetricType::SUMMARY, labels, |metric| {
            let mut summary = Summary::default();
            summary.set_sample_count(count);
            summary.set_sample_sum(sum.as_secs_f64());
            metric.set_summary(summary);
        });
    }

    pub(crate) fn histogram(
        &mut self,
        name: &'static str,
        help: &str,
        labels: Labels<'_>,
        latency: &Latency,
    ) {
        self.add(name, help, MetricType::HISTOGRAM, labels, |metric| {
            let mut count = 0;
            let bounds = Latency::BOUNDS.iter().zip(latency.buckets);
            let buckets = bounds.map(|(bound, number)| {
                count += number;
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(bound.as_secs_f64());
                bucket.set_cumulative_count(count);
                bucket
            });
            let mut histogram = Histogram::default();
            histogram.set_bucket(buckets.collect());
            histogram.set_sample_count(latency.buckets.iter().sum());
            histogram.set_sample_sum(latency.sum.as_secs_f64());
            metric.set_histogram(histogram);
        });
    }

    /// All of them.
    pub(crate) fn text(self) -> String {
        let all: Vec<MetricFamily> = self.0.into_values().collect();
        let encoded = TextEncoder::new().encode_to_string(&all);
        encoded.expect("every family has a name, a type and a metric")
    }
}

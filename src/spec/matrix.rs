//! `matrix`: one instance of a task for each combination of the axes' values, less what `exclude` names.

use super::context::Context;
use super::error::SpecError;
use super::file::{MatrixRaw, Scalar};
use super::map::Spot;
use crate::id::is_name;

/// Most tasks of a fleet, instances counted.
pub(super) const TASKS_MAX: usize = 200_000;

/// The values of one instance, in the order of the axes.
pub(super) type Values = Box<[(Box<str>, Box<str>)]>;

/// All instances, the last axis turning fastest. Empty after a mistake. `room` is how many tasks may still be made.
pub(super) fn instances(cx: &Context<'_>, spot: &Spot<'_>, task: &str, matrix: &MatrixRaw, room: usize) -> Vec<Values> {
    let before = cx.count();
    let axes: Vec<(&str, Vec<Box<str>>)> =
        matrix.axes.iter().map(|(axis, values)| (&**axis, axis_values(cx, &spot.key(axis), axis, values))).collect();
    let excluded: Vec<Vec<(usize, String)>> =
        matrix.exclude.iter().enumerate().map(|(n, entry)| exclusion(cx, spot, n, &axes, entry)).collect();
    if cx.count() > before {
        return Vec::new();
    }
    let product = axes.iter().try_fold(1_usize, |product, (_, values)| product.checked_mul(values.len()));
    // Exclusions cannot be counted without walking the product, so the product is bounded, generously.
    let bound = |product: usize| product > TASKS_MAX * 8 || product.saturating_mul(excluded.len()) > TASKS_MAX * 500;
    if product.is_none_or(bound) {
        cx.report(SpecError::TooManyTasks { at: cx.map.key_at(spot), limit: TASKS_MAX });
        return Vec::new();
    }
    let mut used = vec![false; excluded.len()];
    let mut instances = Vec::new();
    let mut turn = vec![0_usize; axes.len()];
    loop {
        let hit =
            excluded.iter().position(|entry| entry.iter().all(|(axis, value)| *axes[*axis].1[turn[*axis]] == **value));
        match hit {
            Some(_) => {
                for (n, entry) in excluded.iter().enumerate() {
                    used[n] |= entry.iter().all(|(axis, value)| *axes[*axis].1[turn[*axis]] == **value);
                }
            }
            None if instances.len() >= room => {
                cx.report(SpecError::TooManyTasks { at: cx.map.key_at(spot), limit: TASKS_MAX });
                return Vec::new();
            }
            None => {
                let chosen = axes.iter().zip(&turn).map(|((name, values), n)| ((*name).into(), values[*n].clone()));
                instances.push(chosen.collect());
            }
        }
        let Some(last) = (0..axes.len()).rev().find(|n| turn[*n] + 1 < axes[*n].1.len()) else { break };
        turn[last] += 1;
        turn[last + 1..].fill(0);
    }
    for (n, entry) in excluded.iter().enumerate().filter(|(n, _)| !used[*n]) {
        let values: Vec<String> = entry.iter().map(|(axis, value)| format!("{} `{value}`", axes[*axis].0)).collect();
        let values = if values.is_empty() { "no values".to_owned() } else { values.join(" and ") };
        let at = cx.map.at(&spot.key("exclude").index(n));
        cx.report(SpecError::ExcludesNothing { task: task.to_owned(), at, values });
    }
    if instances.is_empty() {
        cx.report(SpecError::ExcludesAll { task: task.to_owned(), at: cx.map.at(&spot.key("exclude")) });
    }
    instances
}

/// `lint:x86_64:release`
pub(super) fn instance_name(base: &str, values: &Values) -> Box<str> {
    let mut name = String::with_capacity(base.len() + values.iter().map(|(_, value)| value.len() + 1).sum::<usize>());
    name.push_str(base);
    for (_, value) in values {
        name.push(':');
        name.push_str(value);
    }
    name.into()
}

fn axis_values(cx: &Context<'_>, spot: &Spot<'_>, axis: &str, values: &[Scalar]) -> Vec<Box<str>> {
    let scope = cx.scope(None, &[]);
    if values.is_empty() {
        cx.report(SpecError::EmptyList { field: format!("matrix.{axis}"), at: cx.map.at(spot) });
    }
    let mut seen = std::collections::HashMap::new();
    let mut texts = Vec::with_capacity(values.len());
    for (n, value) in values.iter().enumerate() {
        let item = spot.index(n);
        let Some(text) = cx.text(&scope, &item, &value.to_string()) else { continue };
        if !is_name(&text) {
            let at = cx.map.at(&item);
            cx.report(SpecError::BadMatrixValue { axis: axis.to_owned(), value: text.to_string(), at });
        } else if let Some(first) = seen.insert(text.clone(), n) {
            let (first, again) = (cx.map.at(&spot.index(first)), cx.map.at(&item));
            cx.report(SpecError::MatrixValueTwice { axis: axis.to_owned(), value: text.to_string(), first, again });
        }
        texts.push(text);
    }
    texts
}

fn exclusion(
    cx: &Context<'_>,
    spot: &Spot<'_>,
    n: usize,
    axes: &[(&str, Vec<Box<str>>)],
    entry: &[(Box<str>, Scalar)],
) -> Vec<(usize, String)> {
    let (list, scope) = (spot.key("exclude"), cx.scope(None, &[]));
    let item = list.index(n);
    let mut conditions = Vec::with_capacity(entry.len());
    if entry.is_empty() {
        cx.report(SpecError::EmptyList { field: "matrix.exclude".to_owned(), at: cx.map.at(&item) });
    }
    for (name, value) in entry {
        let at = item.key(name);
        let Some(found) = axes.iter().position(|(axis, _)| *axis == &**name) else {
            let near = cx.near(name, axes.iter().map(|(axis, _)| *axis), |near| Some(cx.map.key_at(&spot.key(near))));
            cx.report(SpecError::UnknownAxis { axis: name.to_string(), at: cx.map.key_at(&at), near });
            continue;
        };
        if let Some(value) = cx.text(&scope, &at, &value.to_string()) {
            conditions.push((found, value.into()));
        }
    }
    conditions
}

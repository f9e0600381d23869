//! The provider as its operators run it: installed by the chart into the cluster that it sells.

mod alarms;
mod faults;
mod prometheus;
mod release;

//! Arrivals that are made, not recorded: a rate per minute, and Poisson arrivals at it. Seeds are fixed, so a trace is always
//! the same.
//!
//! `tuning()` is what the constants of the rules were chosen on; `judging()` was written afterwards, with other shapes and
//! seeds, and was not used for choosing.

/// Minutes of a day.
const DAY: usize = 1_440;

/// SplitMix64: small, and the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform above 0 and up to 1.
    pub fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform().ln()
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

pub struct Trace {
    pub name: &'static str,
    pub about: &'static str,
    /// Arrivals per second, minute by minute.
    pub rates: Vec<f64>,
    pub seed: u64,
    /// Mean of the exponential service time in seconds.
    pub service: f64,
    /// Days at the beginning that only fill the record; not counted for either rule.
    pub warm_up: usize,
}

impl Trace {
    /// Instants of arrival in seconds, with the service time of each.
    pub fn arrivals(&self) -> Vec<(f64, f64)> {
        let mut random = Random::new(self.seed);
        let mut arrivals = vec![];
        for (minute, rate) in self.rates.iter().enumerate() {
            let end = (minute + 1) as f64 * 60.0;
            // At a rate of 0 the next arrival is at infinity.
            let mut now = minute as f64 * 60.0 + random.exponential(1.0 / rate);
            while now < end {
                arrivals.push((now, random.exponential(self.service)));
                now += random.exponential(1.0 / rate);
            }
        }
        arrivals
    }
}

fn days(count: usize, rate: impl FnMut(usize, usize) -> f64) -> Vec<f64> {
    let mut rate = rate;
    (0..count * DAY)
        .map(|minute| rate(minute / DAY, minute % DAY).max(0.0))
        .collect()
}

/// Two humps a day, an hourly batch, and a flat load that grows.
pub fn tuning() -> Vec<Trace> {
    let hump = |minute: usize, middle: f64, width: f64| {
        let away = (minute as f64 - middle) / width;
        (-away * away / 2.0).exp()
    };
    vec![
        Trace {
            name: "two humps",
            about: "a morning and an evening hump each day",
            rates: days(5, |_, minute| {
                0.05 + 0.9 * hump(minute, 570.0, 60.0) + 0.6 * hump(minute, 1_200.0, 40.0)
            }),
            seed: 11,
            service: 8.0,
            warm_up: 2,
        },
        Trace {
            name: "hourly batch",
            about: "a batch of two minutes at each full hour",
            rates: days(4, |_, minute| if minute % 60 < 2 { 2.0 } else { 0.1 }),
            seed: 12,
            service: 8.0,
            warm_up: 2,
        },
        Trace {
            name: "growing",
            about: "no season at all, 10 % more each day",
            rates: days(4, |day, _| 0.3 * 1.1f64.powi(day as i32)),
            seed: 13,
            service: 8.0,
            warm_up: 2,
        },
    ]
}

/// The three that the report is about.
pub fn judging() -> Vec<Trace> {
    vec![sinusoid(), office(), crowd()]
}

fn sinusoid() -> Trace {
    let mut random = Random::new(2_101);
    let amplitudes: Vec<f64> = (0..7).map(|_| 1.0 + 0.15 * random.normal()).collect();
    let mut noise = 0.0;
    Trace {
        name: "daily wave",
        about: "a sine of one day between 0.08 and 0.72 steps/s; each day's height varies by 15 % (one sigma), each minute by another 20 % that lasts some ten minutes",
        rates: days(7, |day, minute| {
            noise = 0.9 * noise + 0.2 * 0.19f64.sqrt() * random.normal();
            let phase = std::f64::consts::TAU * (minute as f64 / DAY as f64 - 0.25);
            (0.4 + 0.32 * phase.sin()) * amplitudes[day] * (1.0 + noise)
        }),
        seed: 2_102,
        service: 10.0,
        warm_up: 2,
    }
}

fn office() -> Trace {
    let mut random = Random::new(2_201);
    let opens: Vec<f64> = (0..7).map(|_| 480.0 + 6.0 * random.normal()).collect();
    let closes: Vec<f64> = (0..7).map(|_| 1_080.0 + 10.0 * random.normal()).collect();
    Trace {
        name: "office hours",
        about: "a step from 0.05 to 1.0 steps/s at about 08:00 and back at about 18:00 (6 and 10 minutes sigma), 5 % more each day",
        rates: days(7, |day, minute| {
            let open = (opens[day]..closes[day]).contains(&(minute as f64));
            (if open { 1.0 } else { 0.05 }) * 1.05f64.powi(day as i32)
        }),
        seed: 2_202,
        service: 10.0,
        warm_up: 2,
    }
}

fn crowd() -> Trace {
    let mut random = Random::new(2_301);
    let starts: Vec<usize> = (0..7)
        .map(|_| (random.uniform() * 1_380.0) as usize)
        .collect();
    let mut high = false;
    Trace {
        name: "bursts and a crowd",
        about: "Poisson arrivals whose rate switches between 0.1 and 0.5 steps/s at random (every 20 minutes in the mean), and once a day, at another time each day, a crowd of 2 steps/s for 20 minutes: no season to learn",
        rates: days(7, |day, minute| {
            if random.uniform() < 1.0 / 20.0 {
                high = !high;
            }
            let crowd = (starts[day]..starts[day] + 20).contains(&minute);
            if crowd {
                2.0
            } else if high {
                0.5
            } else {
                0.1
            }
        }),
        seed: 2_302,
        service: 10.0,
        warm_up: 2,
    }
}

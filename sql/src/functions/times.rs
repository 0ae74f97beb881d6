//! Texts of times, completed to the form that the engine reads.

/// The text of a time with two digits for each part and with seconds: the engine reads no other. So
/// `2024-1-2 3:4` is `2024-01-02 03:04:00`. `None` for text that is no time, as far as its form says it.
pub(crate) fn full_time(text: &str) -> Option<String> {
    let (date, clock) = match text.trim().split_once([' ', 'T']) {
        Some((date, clock)) => (date, Some(clock.trim_start())),
        None => (text.trim(), None),
    };
    let of_digits = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_digit())
    };
    let [year, month, day] = date.split('-').collect::<Vec<_>>()[..] else { return None };
    if !(of_digits(year, 4) && of_digits(month, 2) && of_digits(day, 2)) {
        return None;
    }
    let date = format!("{year}-{month:0>2}-{day:0>2}");
    let Some(clock) = clock else { return Some(date) };
    let (hour, rest) = clock.split_once(':')?;
    if !of_digits(hour, 2) {
        return None;
    }
    let clock = match rest.split_once(':') {
        Some((minute, second)) if of_digits(minute, 2) => {
            let digits = second.bytes().take_while(u8::is_ascii_digit).count();
            let zero = if digits == 1 { "0" } else { "" };
            format!("{minute:0>2}:{zero}{second}")
        }
        None if of_digits(rest, 2) => format!("{rest:0>2}:00"),
        _ => rest.to_owned(),
    };
    Some(format!("{date} {hour:0>2}:{clock}"))
}

//! Log lines on their way to standard error. Whoever reads that may stand still: then lines are dropped and counted, and
//! nothing waits for it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written, and the longest of them: 8 MiB at most.
const LINES_MAX: usize = 1024;
const LINE_BYTES_MAX: usize = 8 << 10;
/// How long the end of the program waits for what is not written yet.
const END_MAX: Duration = Duration::from_millis(500);

/// Takes lines from any thread, without waiting.
#[derive(Clone)]
pub(super) struct Pen {
    lines: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: AtomicU64,
    dropped: AtomicU64,
}

/// While this lives, lines are written; dropped, it waits a moment for the last ones.
pub struct Logging(Arc<Shared>);

impl Pen {
    /// Starts the thread that writes to `out`.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<(Pen, Logging)> {
        let (lines, waiting) = sync_channel(LINES_MAX);
        let shared = Arc::new(Shared::default());
        let pen = Pen { lines, shared: shared.clone() };
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn({
            let shared = shared.clone();
            move || write_all(&waiting, &shared, out)
        })?;
        Ok((pen, Logging(shared)))
    }
}

fn write_all(lines: &Receiver<Vec<u8>>, shared: &Shared, mut out: impl Write) {
    while let Ok(line) = lines.recv() {
        let dropped = shared.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            // Nowhere is left to tell of an error of the log itself.
            let _ = writeln!(out, "{dropped} lines were dropped: nobody read standard error fast enough");
        }
        let _ = out.write_all(&line);
        shared.waiting.fetch_sub(1, Ordering::Release);
    }
}

impl<'a> MakeWriter<'a> for Pen {
    type Writer = &'a Pen;

    fn make_writer(&'a self) -> &'a Pen {
        self
    }
}

/// Each call is one line, as the formatter makes it.
impl Write for &Pen {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut kept = line[..line.len().min(LINE_BYTES_MAX)].to_vec();
        if kept.len() < line.len() {
            kept.extend_from_slice(" [cut]\n".as_bytes());
        }
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        if self.lines.try_send(kept).is_err() {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let end = Instant::now() + END_MAX;
        while self.0.waiting.load(Ordering::Acquire) > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Written bytes, and a lock that stands for a reader who does not read.
    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<Vec<u8>>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_in_order_and_the_end_waits_for_them() {
        let pipe = Pipe::default();
        let (pen, logging) = Pen::start(pipe.clone()).unwrap();
        for number in 0..100 {
            writeln!(&pen, "{number}").unwrap();
        }
        drop(logging);
        let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
        assert_eq!(String::from_utf8(pipe.0.lock().unwrap().clone()).unwrap(), expected);
    }

    #[test]
    fn a_reader_who_stands_still_costs_lines_and_no_time() {
        let pipe = Pipe::default();
        let (pen, logging) = Pen::start(pipe.clone()).unwrap();
        let stopped = pipe.0.lock().unwrap();
        let begin = Instant::now();
        for _ in 0..LINES_MAX * 3 {
            (&pen).write_all(b"line\n").unwrap();
        }
        assert!(begin.elapsed() < Duration::from_secs(5));
        drop(stopped);
        drop(logging);
        (&pen).write_all(b"last\n").unwrap();
        drop(Logging(pen.shared.clone()));
        let text = String::from_utf8(pipe.0.lock().unwrap().clone()).unwrap();
        let told: usize = text
            .lines()
            .filter_map(|line| {
                line.strip_suffix(" lines were dropped: nobody read standard error fast enough")?.parse::<usize>().ok()
            })
            .sum();
        let written = text.lines().filter(|line| *line == "line").count();
        assert_eq!(told + written, LINES_MAX * 3);
        assert!(text.ends_with("last\n"));
    }

    #[test]
    fn a_line_has_a_bound() {
        let pipe = Pipe::default();
        let (pen, logging) = Pen::start(pipe.clone()).unwrap();
        (&pen).write_all(&vec![b'x'; LINE_BYTES_MAX + 1]).unwrap();
        drop(logging);
        assert!(pipe.0.lock().unwrap().ends_with(b"x [cut]\n"));
    }
}

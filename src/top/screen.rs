//! The terminal: taken over, and given back however the program ends.

use std::fs::File;
use std::io::{self, IsTerminal, Stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::Size;
use ratatui::{Frame, Terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::app::Press;

/// Whether the terminal is ours just now.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOKED: Once = Once::new();

/// A terminal that was taken over.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Where keys come from: standard input, or the terminal itself where that is something else.
    keyboard: OwnedFd,
    size: Option<Size>,
    may_have_more: bool,
}

/// What comes from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A key.
    Key(Press),
    /// It has another size now, or has to be drawn again.
    Redraw,
    /// The terminal is gone.
    Gone,
    /// Nothing, for the time that was waited.
    Nothing,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// Errors: standard output is none, or does not do what it is asked for.
    pub fn enter() -> io::Result<Self> {
        if !io::stdout().is_terminal() {
            return Err(io::Error::other(
                "standard output is no terminal: use --plain for lines of text",
            ));
        }
        let keyboard = if io::stdin().is_terminal() {
            io::stdin().as_fd().try_clone_to_owned()?
        } else {
            File::open("/dev/tty")?.into()
        };
        // What a panic says would be gone with the other screen.
        HOOKED.call_once(|| {
            let hook = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                give_back();
                hook(info);
            }));
        });
        TAKEN.store(true, Ordering::SeqCst);
        let taken = enable_raw_mode()
            .and_then(|()| execute!(io::stdout(), EnterAlternateScreen))
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        if taken.is_err() {
            give_back();
        }
        Ok(Self {
            terminal: taken?,
            keyboard,
            size: None,
            may_have_more: false,
        })
    }

    /// Draws.
    ///
    /// Errors: those of the terminal.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Its height in lines.
    ///
    /// Errors: those of the terminal.
    pub fn height(&self) -> io::Result<u16> {
        Ok(self.terminal.size()?.height)
    }

    /// Waits for a key, no longer than `time`.
    ///
    /// Looks first whether the terminal is still there: crossterm 0.28 would read the end of one that is gone again and
    /// again (`try_read`, src/event/source/unix/mio.rs).
    ///
    /// Errors: those of the terminal.
    pub fn wait(&mut self, time: Duration) -> io::Result<Input> {
        let time = if self.may_have_more {
            Duration::ZERO
        } else {
            time
        };
        let mut polled = [PollFd::new(&self.keyboard, PollFlags::IN)];
        let polled = match poll(&mut polled, Timespec::try_from(time).ok().as_ref()) {
            Ok(_) => polled[0].revents(),
            Err(Errno::INTR) => PollFlags::empty(),
            Err(error) => return Err(error.into()),
        };
        if polled.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return Ok(Input::Gone);
        }
        let size = self.terminal.size()?;
        if self.size != Some(size) {
            self.size = Some(size);
            return Ok(Input::Redraw);
        }
        // Keys that came together were read together, and wait there.
        let may_come = self.may_have_more || polled.contains(PollFlags::IN);
        self.may_have_more = may_come && event::poll(Duration::ZERO)?;
        if !self.may_have_more {
            return Ok(Input::Nothing);
        }
        Ok(match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                press(key).map_or(Input::Nothing, Input::Key)
            }
            _ => Input::Redraw,
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, if it is not its own already.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing back.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

fn press(key: KeyEvent) -> Option<Press> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Some(Press::Interrupt),
            KeyCode::Char('f') => Some(Press::Page(1)),
            KeyCode::Char('b') => Some(Press::Page(-1)),
            KeyCode::Char('h') => Some(Press::Back),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char(c) => Press::Character(c),
        KeyCode::Enter => Press::Enter,
        KeyCode::Esc => Press::Escape,
        KeyCode::Backspace => Press::Back,
        KeyCode::Down => Press::Move(1),
        KeyCode::Up => Press::Move(-1),
        KeyCode::PageDown => Press::Page(1),
        KeyCode::PageUp => Press::Page(-1),
        KeyCode::Home => Press::Home,
        KeyCode::End => Press::End,
        _ => return None,
    })
}

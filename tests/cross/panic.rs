//! A panic must end a session and not the server: does it unwind here?

struct Session;

impl Drop for Session {
    fn drop(&mut self) {
        println!("the session is dropped");
    }
}

fn main() {
    let thread = std::thread::spawn(|| {
        let _session = Session;
        let empty: Vec<u8> = std::env::args().skip(1).map(|_| 0).collect();
        empty[0]
    });
    assert!(thread.join().is_err());
    println!("the server goes on");
}

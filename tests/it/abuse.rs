//! Abuse: storms, slow and endless senders, idle crowds, full disks, damaged files, and a hunt for secrets. What is
//! promised is kept, what cannot be kept is refused in words, and the program stays there to say so.

mod bodies;
mod canaries;
mod connections;
mod disk;
mod room;
mod storm;

//! What wrappers of file systems and files do not change.

/// Methods that do what those of `self.inner` do; `self.inner, map` also turns
/// each error into another one.
macro_rules! pass_on {
    (self.$inner:ident:
     $($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)+) => {
        $(fn $name(&self, $($argument: $kind),*) -> $result {
            self.$inner.$name($($argument),*)
        })+
    };
    (self.$inner:ident, $map:ident:
     $($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)+) => {
        $(fn $name(&self, $($argument: $kind),*) -> $result {
            self.$inner.$name($($argument),*).map_err($map)
        })+
    };
}

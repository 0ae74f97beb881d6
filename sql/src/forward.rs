//! Methods that a function delegates to the function of the engine that it wraps.

/// Methods that call the same method of the wrapped function, which is in the field `engine`.
macro_rules! from_engine {
    ($($method:ident($($arg:ident: $type:ty)?) -> $result:ty;)+) => {
        $(fn $method(&self $(, $arg: $type)?) -> $result {
            self.engine.$method($($arg)?)
        })+
    };
}
pub(crate) use from_engine;

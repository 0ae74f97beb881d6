//! Methods that a function has from the engine's function in it.

/// Methods that are those of the function of the engine in the field `engine`.
macro_rules! from_engine {
    ($($method:ident($($arg:ident: $type:ty)?) -> $result:ty;)+) => {
        $(fn $method(&self $(, $arg: $type)?) -> $result {
            self.engine.$method($($arg)?)
        })+
    };
}
pub(crate) use from_engine;

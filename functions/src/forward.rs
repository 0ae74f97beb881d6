//! Methods that a function or an accumulator delegates to that of the engine that it wraps, and those that
//! several functions have in common.

/// Methods that call the same method of the wrapped function, which is in the field `engine`.
#[macro_export]
macro_rules! from_engine {
    ($($method:ident($($arg:ident: $type:ty)?) -> $result:ty;)+) => {
        $(fn $method(&self $(, $arg: $type)?) -> $result {
            self.engine.$method($($arg)?)
        })+
    };
}

/// The methods of an `Accumulator` around the one in a field, but for its result; the inner one takes what is
/// made of the values.
macro_rules! accumulate_in {
    ($field:tt, |$self:ident, $values:ident| $taken:expr) => {
        fn update_batch(&mut $self, $values: &[ArrayRef]) -> DfResult<()> {
            let taken = $taken;
            $self.$field.update_batch(&taken)
        }

        fn retract_batch(&mut $self, $values: &[ArrayRef]) -> DfResult<()> {
            let taken = $taken;
            $self.$field.retract_batch(&taken)
        }

        fn supports_retract_batch(&self) -> bool {
            self.$field.supports_retract_batch()
        }

        fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
            self.$field.merge_batch(states)
        }

        fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
            self.$field.state()
        }

        fn size(&self) -> usize {
            size_of_val(self) + self.$field.size()
        }
    };
}

/// The same of a `GroupsAccumulator`.
macro_rules! group_in {
    ($field:tt, |$values:ident| $taken:expr) => {
        fn update_batch(
            &mut self,
            $values: &[ArrayRef],
            groups: &[usize],
            filter: Option<&BooleanArray>,
            total: usize,
        ) -> DfResult<()> {
            self.$field.update_batch(&$taken, groups, filter, total)
        }

        fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> DfResult<()> {
            self.$field.merge_batch(states, groups, total)
        }

        fn state(&mut self, emit: EmitTo) -> DfResult<Vec<ArrayRef>> {
            self.$field.state(emit)
        }

        fn convert_to_state(
            &self,
            $values: &[ArrayRef],
            filter: Option<&BooleanArray>,
        ) -> DfResult<Vec<ArrayRef>> {
            self.$field.convert_to_state(&$taken, filter)
        }

        fn size(&self) -> usize {
            size_of_val(self) + self.$field.size()
        }
    };
}

/// The methods of a function of one argument that gives what has its type, and NULL for NULL.
macro_rules! of_its_type {
    () => {
        fn signature(&self) -> &Signature {
            signatures::one()
        }

        fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
            let [of] = take_function_args(self.name(), types)?;
            Ok(of.clone())
        }

        fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
            let [of] = take_function_args(self.name(), args.arg_fields)?;
            Ok(Arc::clone(of))
        }

        fn is_strict(&self) -> bool {
            true
        }
    };
}

/// The method of a function of one argument that a plan knows by the name of that, as it knows a cast.
macro_rules! named_as_argument {
    () => {
        fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
            let [of] = take_function_args(self.name(), args)?;
            Ok(of.schema_name().to_string())
        }
    };
}

pub(crate) use {accumulate_in, from_engine, group_in, named_as_argument, of_its_type};

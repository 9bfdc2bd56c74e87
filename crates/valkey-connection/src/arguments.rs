//! The setters that commands and script calls share.

/// Makes the setters of a type with `push_key` and the fields `args` and `timeout`.
macro_rules! argument_setters {
    ($of:ident) => {
        impl $of {
            /// Appends a key (for a script: to `KEYS`). The first key routes the call in a cluster.
            pub fn key(mut self, key: impl Into<$crate::Arg>) -> Self {
                self.push_key(key.into());
                self
            }

            /// Appends several keys.
            pub fn keys<I>(mut self, keys: I) -> Self
            where
                I: IntoIterator,
                I::Item: Into<$crate::Arg>,
            {
                keys.into_iter().for_each(|key| self.push_key(key.into()));
                self
            }

            /// Appends an argument (for a script: to `ARGV`).
            pub fn arg(mut self, arg: impl Into<$crate::Arg>) -> Self {
                self.args.push(arg.into());
                self
            }

            /// Appends several arguments.
            pub fn args<I>(mut self, args: I) -> Self
            where
                I: IntoIterator,
                I::Item: Into<$crate::Arg>,
            {
                self.args.extend(args.into_iter().map(Into::into));
                self
            }

            /// Waits at most this long for the reply, instead of the connection's `read_timeout`.
            pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
                self.timeout = Some(timeout);
                self
            }

            pub(crate) fn own_timeout(&self) -> Option<std::time::Duration> {
                self.timeout
            }
        }
    };
}

pub(crate) use argument_setters;

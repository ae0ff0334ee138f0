//! Every contract between Sealpost's processes, compiled from `proto/sealpost/`.
//!
//! It owns the generated messages, clients and servers, and the descriptors behind gRPC reflection. It holds no logic: what a
//! field means stands beside it in the `.proto` file.

#![allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::implicit_clone
)]

/// Serialised `FileDescriptorSet` of every contract, for reflection and for the checks that walk every RPC.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sealpost.bin"));

macro_rules! package {
    ($name:ident) => {
        #[doc = concat!("`sealpost.", stringify!($name), ".v1`")]
        pub mod $name {
            #[doc = concat!("Generated from `sealpost/", stringify!($name), "/v1`.")]
            pub mod v1 {
                include!(concat!(
                    env!("OUT_DIR"),
                    "/sealpost.",
                    stringify!($name),
                    ".v1.rs"
                ));
            }
        }
    };
}

package!(content);
package!(envelope);
package!(record);
package!(signal);
package!(vault);
package!(store);
package!(gateway);
package!(directory);
package!(relay);
package!(retention);

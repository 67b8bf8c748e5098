//! Key encapsulation by OpenSSL: the `openssl` crate has the keys for it
//! (0.10.82) and not the calls.

use openssl::error::ErrorStack;
use openssl::pkey::{PKeyRef, Public};
use openssl::pkey_ctx::PkeyCtx;

/// A fresh secret of `SECRET` bytes, and what tells it to the owner of `key`
/// and nobody else. Fails also where they have other lengths than these.
pub(crate) fn encapsulate<const CIPHERTEXT: usize, const SECRET: usize>(
    key: &PKeyRef<Public>,
) -> Result<([u8; CIPHERTEXT], [u8; SECRET]), ErrorStack> {
    let mut context = PkeyCtx::new(key)?;
    let context = std::ptr::from_mut(&mut *context).cast();
    let (mut ciphertext, mut secret) = ([0; CIPHERTEXT], [0; SECRET]);
    let (mut ciphertext_length, mut secret_length) = (0, 0);
    // SAFETY: a reference to a `PkeyCtxRef` is the EVP_PKEY_CTX pointer itself
    // (foreign-types, `ForeignTypeRef::as_ptr`), and its owner lives to the end
    // of this function. Called without buffers, the function tells how many
    // bytes it writes; it is called with buffers that have just as many.
    let done = unsafe {
        openssl_sys::EVP_PKEY_encapsulate_init(context, std::ptr::null()) == 1
            && openssl_sys::EVP_PKEY_encapsulate(
                context,
                std::ptr::null_mut(),
                &mut ciphertext_length,
                std::ptr::null_mut(),
                &mut secret_length,
            ) == 1
            && (ciphertext_length, secret_length) == (CIPHERTEXT, SECRET)
            && openssl_sys::EVP_PKEY_encapsulate(
                context,
                ciphertext.as_mut_ptr(),
                &mut ciphertext_length,
                secret.as_mut_ptr(),
                &mut secret_length,
            ) == 1
    };
    if done {
        Ok((ciphertext, secret))
    } else {
        Err(ErrorStack::get())
    }
}

/// What the owner of the key makes of the ciphertext: a client's part.
#[cfg(all(test, ossl350))]
pub(crate) fn decapsulate<const SECRET: usize>(
    key: &PKeyRef<openssl::pkey::Private>,
    ciphertext: &[u8],
) -> Result<[u8; SECRET], ErrorStack> {
    let mut context = PkeyCtx::new(key)?;
    let context = std::ptr::from_mut(&mut *context).cast();
    let mut secret = [0; SECRET];
    let mut length = 0;
    // SAFETY: as above; the ciphertext is only read.
    let done = unsafe {
        openssl_sys::EVP_PKEY_decapsulate_init(context, std::ptr::null()) == 1
            && openssl_sys::EVP_PKEY_decapsulate(
                context,
                std::ptr::null_mut(),
                &mut length,
                ciphertext.as_ptr(),
                ciphertext.len(),
            ) == 1
            && length == SECRET
            && openssl_sys::EVP_PKEY_decapsulate(
                context,
                secret.as_mut_ptr(),
                &mut length,
                ciphertext.as_ptr(),
                ciphertext.len(),
            ) == 1
    };
    match done {
        true => Ok(secret),
        false => Err(ErrorStack::get()),
    }
}

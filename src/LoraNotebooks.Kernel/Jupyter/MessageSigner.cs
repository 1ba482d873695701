using System.Security.Cryptography;
using System.Text;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>Signs messages with HMAC-SHA256 over their four JSON parts, so that only who has the connection file's key can run code.</summary>
internal sealed class MessageSigner(string key)
{
    private readonly byte[] _key = Encoding.UTF8.GetBytes(key);

    /// <summary>The signature as lower-case hexadecimal ASCII; empty where there is no key.</summary>
    public byte[] Sign(IEnumerable<byte[]> parts)
    {
        if (_key.Length == 0)
        {
            return [];
        }

        using var hash = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, _key);
        foreach (var part in parts)
        {
            hash.AppendData(part);
        }

        return Encoding.ASCII.GetBytes(Convert.ToHexStringLower(hash.GetHashAndReset()));
    }

    /// <summary>Whether a signature is the right one; takes the same time wherever it differs.</summary>
    public bool Verify(ReadOnlySpan<byte> signature, IEnumerable<byte[]> parts) => CryptographicOperations.FixedTimeEquals(signature, Sign(parts));
}

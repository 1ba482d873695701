using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace LoraNotebooks.Hub;

/// <summary>
/// What a file's content must give: the hub names large files by their SHA-256, others by git's blob hash,
/// the SHA-1 of a short header and the content.
/// </summary>
internal sealed record BlobChecksum
{
    private const int Sha256Digits = 64;
    private const int Sha1Digits = 40;

    private readonly HashAlgorithmName _algorithm;
    private readonly string _header;

    private BlobChecksum(HashAlgorithmName algorithm, string header, string? expected) => (_algorithm, _header, Expected) = (algorithm, header, expected);

    /// <summary>The digits expected; null where neither the tag nor the list of files is a checksum, and only the length can be compared.</summary>
    public string? Expected { get; }

    /// <summary>The checksum by the file's ETag; where a mirror has tags of its own, by the list of files.</summary>
    public static BlobChecksum Of(string etag, ListedFile file, long size)
    {
        var digits = IsHex(etag, Sha256Digits) || IsHex(etag, Sha1Digits) ? etag : file.Sha256 ?? file.GitBlob;
        return digits?.Length == Sha1Digits
            ? new BlobChecksum(HashAlgorithmName.SHA1, string.Create(CultureInfo.InvariantCulture, $"blob {size}\0"), digits)
            : new BlobChecksum(HashAlgorithmName.SHA256, "", digits);
    }

    /// <summary>Begins to compute it.</summary>
    public IncrementalHash Begin()
    {
        var hash = IncrementalHash.CreateHash(_algorithm);
        hash.AppendData(Encoding.ASCII.GetBytes(_header));
        return hash;
    }

    /// <summary>Whether the content that was appended is the file's; it ends the computation.</summary>
    public bool Fits(IncrementalHash hash, out string got)
    {
        got = Convert.ToHexStringLower(hash.GetHashAndReset());
        return Expected is null || got == Expected;
    }

    private static bool IsHex(string text, int digits) => text.Length == digits && text.All(char.IsAsciiHexDigitLower);
}

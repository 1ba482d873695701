using System.Security.Cryptography;

namespace LoraNotebooks.Formats;

/// <summary>The hashes by which kohya's tools and WebUI know files.</summary>
/// <remarks>Source: kohya-ss/sd-scripts, library/train_util.py (addnet_hash_…, model_hash, calculate_sha256).</remarks>
public static class KohyaHashes
{
    private const int LegacyOffset = 0x100000;
    private const int LegacyLength = 0x10000;

    /// <summary>The hashes of a LoRA file: <c>sshs_model_hash</c> and <c>sshs_legacy_hash</c>.</summary>
    /// <param name="path">The file.</param>
    /// <returns>
    /// SHA-256 over all that follows the header, and the older one: 8 hexadecimal digits of SHA-256 over 64 KiB from 1 MiB on,
    /// which is that of nothing for a smaller file.
    /// </returns>
    public static (string Model, string Legacy) OfLora(string path)
    {
        using var stream = File.OpenRead(path);
        Span<byte> length = stackalloc byte[8];
        stream.ReadExactly(length);
        stream.Position = 8 + BitConverter.ToInt64(length);
        return (Convert.ToHexStringLower(SHA256.HashData(stream)), Legacy(stream));
    }

    /// <summary>
    /// The hashes of a base model in one file: <c>ss_new_sd_model_hash</c> (SHA-256 of the whole file) and
    /// <c>ss_sd_model_hash</c> (the older 8 digits).
    /// </summary>
    /// <param name="path">The file.</param>
    public static (string Model, string Legacy) OfCheckpoint(string path)
    {
        using var stream = File.OpenRead(path);
        return (Convert.ToHexStringLower(SHA256.HashData(stream)), Legacy(stream));
    }

    private static string Legacy(FileStream stream)
    {
        var window = new byte[LegacyLength];
        stream.Position = Math.Min(LegacyOffset, stream.Length);
        var read = stream.ReadAtLeast(window, window.Length, throwOnEndOfStream: false);
        return Convert.ToHexStringLower(SHA256.HashData(window.AsSpan(0, read)))[..8];
    }
}

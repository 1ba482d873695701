using System.Text.RegularExpressions;

namespace LoraNotebooks.Data;

/// <summary>
/// How long a caption is at least for a text encoder of the CLIP kind, without its vocabulary: each word, each digit and each run of signs is a token or
/// more.
/// </summary>
/// <remarks>Source: openai/CLIP, clip/simple_tokenizer.py.</remarks>
internal static partial class CaptionLength
{
    /// <summary>The least number of tokens.</summary>
    public static int LeastTokens(string caption) => Pieces().Count(caption);

    [GeneratedRegex(@"'(?:s|t|re|ve|m|ll|d)|[\p{L}\p{M}]+|\p{N}|[^\s\p{L}\p{M}\p{N}]+", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex Pieces();
}

namespace LoraNotebooks.Hub;

/// <summary>
/// An access token of the hub. Its text goes into the authorization header and nowhere else: neither <see cref="ToString"/> nor an error shows it.
/// </summary>
public sealed class HubToken
{
    /// <summary>Wraps a token.</summary>
    /// <param name="value">The token, as the hub's page of access tokens shows it.</param>
    /// <exception cref="ArgumentException">It is empty, or has characters that no header can carry. The message does not show it.</exception>
    public HubToken(string value)
    {
        ArgumentNullException.ThrowIfNull(value);
        if (!IsUsable(value))
        {
            throw new ArgumentException(
                $"The access token has {value.Length} characters and is empty or holds blanks, control characters or letters outside ASCII; "
                    + "expected one word such as hf_…. Copy it again.",
                nameof(value));
        }

        Value = value;
    }

    internal string Value { get; }

    /// <inheritdoc/>
    public override string ToString() => "(access token)";

    /// <summary>Whether a text shows it, in whatever capitals: names of hosts lose theirs.</summary>
    internal bool IsIn(string text) => text.Contains(Value, StringComparison.OrdinalIgnoreCase);

    /// <summary>A text that does not show it.</summary>
    internal string HiddenIn(string text) => text.Replace(Value, ToString(), StringComparison.OrdinalIgnoreCase);

    /// <summary>The token in a variable or file; null where there is none, or nothing that a header can carry.</summary>
    internal static HubToken? FromText(string? text) => text?.Trim() is { } value && IsUsable(value) ? new HubToken(value) : null;

    private static bool IsUsable(string value) => value.Length > 0 && value.All(static letter => letter is > ' ' and <= '~');
}

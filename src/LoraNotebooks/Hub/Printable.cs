namespace LoraNotebooks.Hub;

/// <summary>Texts of a server in messages for people.</summary>
internal static class Printable
{
    private const int Longest = 200;

    /// <summary>A text without control characters, cut where it is long.</summary>
    public static string Text(string text)
    {
        var clean = string.Concat(text.Where(static letter => !char.IsControl(letter)));
        return clean.Length <= Longest ? clean : clean[..Longest] + "…";
    }

    /// <summary>An address without its query, which can be a signature that opens the file, and without a user's name and password.</summary>
    public static string Address(Uri address) => address.GetComponents(UriComponents.SchemeAndServer | UriComponents.Path, UriFormat.UriEscaped);
}

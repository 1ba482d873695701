namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Where the program keeps what it can make again.</summary>
internal static class UserFolders
{
    /// <summary><c>~/.local/share/lora-notebooks</c> and its like on other systems; a temporary folder for a user without a home.</summary>
    public static string Cache => Path.Combine(
        Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify) is { Length: > 0 } local
            ? local
            : Path.GetTempPath(),
        "lora-notebooks");
}

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>Where Jupyter looks for kernels.</summary>
/// <remarks>
/// As jupyter_core's paths.py has it (docs.jupyter.org, "Common Directories and File Locations").
/// VS Code's Jupyter extension searches the same folders, recursively.
/// </remarks>
internal static class JupyterPaths
{
    /// <summary>The user's data folder on this machine.</summary>
    public static string UserData() => UserData(
        Environment.GetEnvironmentVariable,
        OperatingSystem.IsWindows() ? PlatformID.Win32NT : OperatingSystem.IsMacOS() ? PlatformID.MacOSX : PlatformID.Unix,
        Environment.GetFolderPath(Environment.SpecialFolder.UserProfile));

    /// <summary>The user's data folder under given variables, so that every platform's rule can be tried on one.</summary>
    public static string UserData(Func<string, string?> variable, PlatformID platform, string home)
    {
        var usesPlatformDirs = Value("JUPYTER_PLATFORM_DIRS") is { } flag && flag.ToLowerInvariant() is not ("0" or "false" or "no" or "off");
        return Value("JUPYTER_DATA_DIR") ?? (platform, usesPlatformDirs) switch
        {
            (PlatformID.Win32NT, false) => Path.Combine(Value("APPDATA") ?? Path.Combine(home, "AppData", "Roaming"), "jupyter"),
            (PlatformID.Win32NT, true) => Path.Combine(Value("LOCALAPPDATA") ?? Path.Combine(home, "AppData", "Local"), "Jupyter"),
            (PlatformID.MacOSX, false) => Path.Combine(home, "Library", "Jupyter"),
            (PlatformID.MacOSX, true) => Path.Combine(home, "Library", "Application Support", "Jupyter"),
            _ => Path.Combine(Value("XDG_DATA_HOME") ?? Path.Combine(home, ".local", "share"), "jupyter"),
        };

        string? Value(string name) => variable(name) is { Length: > 0 } value ? value : null;
    }

    /// <summary>The data folder below the prefix of a Python environment or an installation, such as <c>/usr/local</c>.</summary>
    public static string DataOf(string prefix) => Path.Combine(Path.GetFullPath(prefix), "share", "jupyter");

    /// <summary>The prefix of the Python environment that is active in this shell, or null if there is none.</summary>
    public static string? ActiveEnvironment() =>
        ((string[])["VIRTUAL_ENV", "CONDA_PREFIX"]).Select(Environment.GetEnvironmentVariable).FirstOrDefault(prefix => !string.IsNullOrEmpty(prefix));
}

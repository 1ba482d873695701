namespace LoraNotebooks.Hub;

/// <summary>The room on a disk.</summary>
internal static class DiskSpace
{
    public const string Advice = "Make room, or name a folder on another disk in the variable HF_HOME.";

    // ENOSPC and EDQUOT on Linux and macOS, ERROR_DISK_FULL and ERROR_HANDLE_DISK_FULL on Windows.
    private static readonly int[] Full = [28, 122, 69, unchecked((int)0x80070070), unchecked((int)0x80070027)];

    /// <summary>Whether a file could not be written for want of room.</summary>
    public static bool IsFull(IOException error) => Full.Contains(error.HResult);

    /// <summary>The bytes that this account can write where a folder is or will be; null where the system does not say.</summary>
    public static long? Free(string folder)
    {
        try
        {
            var existing = folder;
            while (!Directory.Exists(existing) && Path.GetDirectoryName(existing) is { Length: > 0 } parent)
            {
                existing = parent;
            }

            return new DriveInfo(OperatingSystem.IsWindows() ? Path.GetPathRoot(existing)! : existing).AvailableFreeSpace;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            // A network folder has no drive; a full disk shows while writing.
            return null;
        }
    }
}

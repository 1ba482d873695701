using System.Text;

namespace LoraNotebooks.Foundation;

/// <summary>Writes whole files or nothing: the content goes to a temporary name in the same folder, which is then renamed.</summary>
/// <remarks>A reader never sees half a file, and a failed write leaves the former file as it was.</remarks>
public static class AtomicFile
{
    private static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false);

    /// <summary>Writes a file through a stream; the folder is created if it is missing.</summary>
    /// <param name="path">The file to write or replace.</param>
    /// <param name="write">Writes the content; if it throws, the former file stays.</param>
    public static void Write(string path, Action<Stream> write) =>
        Write(path, write, static temporary => new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16));

    /// <summary>The same on a disk of any kind, e.g. one that is full.</summary>
    /// <param name="path">The file to write or replace.</param>
    /// <param name="write">Writes the content.</param>
    /// <param name="create">Creates the temporary file.</param>
    internal static void Write(string path, Action<Stream> write, Func<string, FileStream> create)
    {
        var full = Path.GetFullPath(path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        var temporary = $"{full}.{Guid.NewGuid():N}.tmp";
        try
        {
            using (var stream = create(temporary))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, full, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Writes bytes; see <see cref="Write(string, Action{Stream})"/>.</summary>
    public static void WriteAllBytes(string path, ReadOnlyMemory<byte> content) => Write(path, stream => stream.Write(content.Span));

    /// <summary>Writes text as UTF-8 without a byte-order mark; see <see cref="Write(string, Action{Stream})"/>.</summary>
    public static void WriteAllText(string path, string content) => WriteAllBytes(path, Utf8.GetBytes(content));
}

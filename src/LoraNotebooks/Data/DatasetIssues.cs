using System.Collections.Concurrent;

namespace LoraNotebooks.Data;

/// <summary>Gathers what is wrong with the files below a folder; may be used by several threads at once.</summary>
internal sealed class DatasetIssues(string root)
{
    private readonly ConcurrentBag<DatasetIssue> _issues = [];
    private int _errors;

    /// <summary>The number of errors so far.</summary>
    public int ErrorCount => Volatile.Read(ref _errors);

    public void Error(DatasetFault fault, string path, string message) => Add(DatasetSeverity.Error, fault, path, message);

    public void Warning(DatasetFault fault, string path, string message) => Add(DatasetSeverity.Warning, fault, path, message);

    public void Add(DatasetSeverity severity, DatasetFault fault, string path, string message)
    {
        _issues.Add(new(severity, fault, Relative(path), message));
        if (severity == DatasetSeverity.Error)
        {
            Interlocked.Increment(ref _errors);
        }
    }

    /// <summary>Runs something that reads a file, and gathers what goes wrong.</summary>
    /// <returns>The result, or <paramref name="otherwise"/>.</returns>
    public T Try<T>(string path, Func<T> read, T otherwise)
    {
        try
        {
            return read();
        }
        catch (InvalidDataException error)
        {
            Error(DatasetFault.CorruptImage, path, error.Message);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            Error(DatasetFault.UnreadableFile, path, error.Message);
        }

        return otherwise;
    }

    /// <summary>A path as it is shown: relative to the folder, with forward slashes.</summary>
    public string Relative(string path) => Path.GetRelativePath(root, path).Replace('\\', '/');

    public DatasetReport ToReport() => new(root, _issues);
}

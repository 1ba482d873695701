namespace LoraNotebooks.Data;

/// <summary>How grave an issue of a dataset is.</summary>
public enum DatasetSeverity
{
    /// <summary>Training works, but perhaps not as meant.</summary>
    Warning,

    /// <summary>The image or its caption cannot be used.</summary>
    Error,
}

/// <summary>What is wrong with a file of a dataset.</summary>
public enum DatasetFault
{
    /// <summary>The folder holds no images.</summary>
    NoImages,

    /// <summary>The file has no bytes.</summary>
    EmptyFile,

    /// <summary>The system refuses to read the file.</summary>
    UnreadableFile,

    /// <summary>The file is damaged, cut off, or no image.</summary>
    CorruptImage,

    /// <summary>The file's content is of another format than its name says.</summary>
    WrongExtension,

    /// <summary>The file is of a kind that is not read.</summary>
    UnsupportedFile,

    /// <summary>The image, or its crop, is smaller than the resolution aimed at.</summary>
    TooSmall,

    /// <summary>The image has no caption, or an empty one.</summary>
    MissingCaption,

    /// <summary>The text is not UTF-8.</summary>
    TextEncoding,

    /// <summary>Two captions of one image disagree.</summary>
    ConflictingCaption,

    /// <summary>The caption file has more lines than the one that is used.</summary>
    ExtraCaptionLines,

    /// <summary>A caption file without an image.</summary>
    OrphanCaption,

    /// <summary>A line of metadata.jsonl that cannot be understood.</summary>
    InvalidMetadata,

    /// <summary>A line of metadata.jsonl that names a file that does not exist.</summary>
    MissingFile,

    /// <summary>Two images share a name, and so a caption file.</summary>
    DuplicateName,

    /// <summary>Two files hold the same bytes.</summary>
    DuplicateImage,

    /// <summary>The crop lies outside the image or is no rectangle.</summary>
    InvalidCrop,

    /// <summary>The image's size is not that of the others, where one size is needed.</summary>
    DifferentSize,

    /// <summary>A subfolder whose images are not used.</summary>
    IgnoredFolder,

    /// <summary>A folder's name gives an unusually high number of repeats.</summary>
    ManyRepeats,

    /// <summary>The square that is used leaves out more than a quarter of the picture.</summary>
    LostPicture,

    /// <summary>The file holds several frames, of which one is used.</summary>
    MovingImage,

    /// <summary>The caption is longer than a text encoder sees at once.</summary>
    LongCaption,

    /// <summary>The caption has characters that cannot be seen.</summary>
    InvisibleCharacters,
}

/// <summary>One thing that is wrong with a dataset.</summary>
/// <param name="Severity">Whether it prevents the use of the data.</param>
/// <param name="Fault">What kind of thing it is.</param>
/// <param name="File">The file or folder, relative to the dataset's folder, with forward slashes.</param>
/// <param name="Message">What was got, what was expected, what to do.</param>
public sealed record DatasetIssue(DatasetSeverity Severity, DatasetFault Fault, string File, string Message)
{
    /// <summary>The issue on one line.</summary>
    public override string ToString() => $"{DatasetReport.Word(Severity)}: {File}: {Message}";
}

/// <summary>Everything that is wrong with a dataset, at once: errors first, then by file.</summary>
public sealed class DatasetReport
{
    internal DatasetReport(string folder, IEnumerable<DatasetIssue> issues)
    {
        Folder = folder;
        Issues = [.. issues
            .OrderByDescending(static issue => issue.Severity)
            .ThenBy(static issue => issue.File, StringComparer.Ordinal)
            .ThenBy(static issue => issue.Fault)];
    }

    /// <summary>The dataset's folder.</summary>
    public string Folder { get; }

    /// <summary>All issues; empty for a dataset without fault.</summary>
    public IReadOnlyList<DatasetIssue> Issues { get; }

    /// <summary>The issues that prevent the use of the data.</summary>
    public IEnumerable<DatasetIssue> Errors => Issues.Where(static issue => issue.Severity == DatasetSeverity.Error);

    /// <summary>The issues that do not.</summary>
    public IEnumerable<DatasetIssue> Warnings => Issues.Where(static issue => issue.Severity == DatasetSeverity.Warning);

    /// <summary>The issues as they are shown: of each kind the first ten, and at the end how many more there are.</summary>
    public IReadOnlyList<DatasetIssue> Brief
    {
        get
        {
            var kinds = Issues.GroupBy(static issue => (issue.Severity, issue.Fault)).ToList();
            var hidden = kinds.SelectMany(static kind => kind.Skip(Listing.Most)).ToHashSet(ReferenceEqualityComparer.Instance);
            return
            [
                .. Issues.Where(issue => !hidden.Contains(issue)),
                .. kinds.Where(static kind => kind.Skip(Listing.Most).Any())
                    .Select(static kind => new DatasetIssue(
                        kind.Key.Severity, kind.Key.Fault, kind.Key.Fault.ToString(), $"{kind.Count() - Listing.Most} more files of this kind")),
            ];
        }
    }

    /// <summary>Whether there is any error.</summary>
    public bool HasErrors => Errors.Any();

    /// <summary>Throws when there are errors.</summary>
    /// <exception cref="DatasetException">Its message lists the issues, of each kind the first ten.</exception>
    public void ThrowIfErrors()
    {
        if (HasErrors)
        {
            throw new DatasetException(this);
        }
    }

    /// <summary>One line per issue under a line of counts; of issues of one kind the first ten, and how many more there are.</summary>
    public override string ToString() => string.Join('\n',
    [
        $"{Folder}: {Listing.Count(Errors.Count(), "error")}, {Listing.Count(Warnings.Count(), "warning")}",
        .. Brief.Select(static issue => $"- {issue}"),
    ]);

    /// <summary>A line for each kind of warning, of which the first ten files are named.</summary>
    internal IReadOnlyList<string> Summary =>
        [.. Warnings
            .GroupBy(static issue => issue.Fault)
            .Select(static group => Listing.Inline([.. group.Select(static issue => $"{issue.File}: {issue.Message}")], " "))];

    internal static string Word(DatasetSeverity severity) => severity == DatasetSeverity.Error ? "error" : "warning";
}

/// <summary>A dataset cannot be used; the message lists what is wrong with it, <see cref="Report"/> all of it.</summary>
public sealed class DatasetException : Exception
{
    /// <param name="report">What is wrong.</param>
    public DatasetException(DatasetReport report)
        : base((report ?? throw new ArgumentNullException(nameof(report))).ToString()) => Report = report;

    /// <summary>What is wrong, file by file.</summary>
    public DatasetReport Report { get; }
}

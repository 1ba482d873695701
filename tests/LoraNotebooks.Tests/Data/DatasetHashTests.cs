using System.Security.Cryptography;
using System.Text;
using LoraNotebooks.Data;
using static LoraNotebooks.Tests.Data.DatasetFolder;

namespace LoraNotebooks.Tests.Data;

/// <summary>What the hashes of datasets are made of, so that an equal hash means equal data in every version.</summary>
public sealed class DatasetHashTests
{
    [Fact]
    public void ComputeHash_OfADataset_IsThatOfNameCaptionCropRepeatsAndBytesInOrder()
    {
        using var folder = Folder();
        var expected = new List<byte>();
        Add("b.png", "red, é", "CropRectangle { X = 1, Y = 2, Width = 8, Height = 9 }", 1);
        Add("a.png", "", "", 1);
        Add("3_x/c.png", "blue", "", 3);

        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData([.. expected])), folder.Open(Lenient).ComputeHash());

        void Add(string file, string caption, string crop, byte repeats) =>
            expected.AddRange(
                [.. Encoding.UTF8.GetBytes($"{file}\0{caption}\0{crop}\0"), repeats, 0, 0, 0, .. SHA256.HashData(File.ReadAllBytes(folder[file]))]);
    }

    [Fact]
    public void ComputeHash_OfADataset_ChangesWithTheDataAlone()
    {
        using var folder = Folder();
        using var elsewhere = Folder();
        var hash = folder.Open(Lenient).ComputeHash();

        Assert.Equal(hash, elsewhere.Open(Lenient).ComputeHash());
        Assert.Equal(hash, folder.Open(Lenient with { Checks = ImageChecks.None }).ComputeHash());
        Assert.Equal(hash, folder.Open(Lenient with { Checks = ImageChecks.Header }).ComputeHash());
        Assert.Equal(
            hash,
            folder.Text("README.md", "about").Text(
                "metadata.jsonl", """{"file_name": "b.png", "crop": [1, 2, 8, 9], "split": "train"}""").Open(Lenient).ComputeHash());

        var dataset = folder.Open(Lenient);
        HashSet<string> hashes = [hash];
        Assert.True(hashes.Add(dataset.Where(static item => item.File != "a.png").ComputeHash()));
        Assert.True(hashes.Add(dataset.WithCaptions(dataset.Tags.Replace("red", "green")).ComputeHash()));
        Assert.True(hashes.Add(folder.Text("metadata.jsonl", """{"file_name": "b.png", "crop": [1, 2, 8, 8]}""").Open(Lenient).ComputeHash()));
        File.Delete(folder["metadata.jsonl"]);
        Assert.True(hashes.Add(folder.Open(Lenient).ComputeHash()));
        Directory.Move(folder["3_x"], folder["4_x"]);
        Assert.True(hashes.Add(folder.Open(Lenient).ComputeHash()));
    }

    [Fact]
    public void ComputeHash_OfPreparedImages_IsThatOfEverythingThatIsTrainedOn()
    {
        var images = Prepared();
        Assert.Equal(Expected(images, withOrigins: false), new PreparedDataset(images).ComputeHash());
        Assert.Equal(Expected(images, withOrigins: true), new PreparedDataset(images).ComputeHash(withOrigins: true));
    }

    [Fact]
    public void ComputeHash_OfPreparedImages_ChangesWithEachThingThatIsTrainedOnAlone()
    {
        var images = Prepared();
        var hash = new PreparedDataset(images).ComputeHash();
        var withOrigins = new PreparedDataset(images).ComputeHash(withOrigins: true);
        PreparedImage[] same = [images[0] with { Name = "other" }, images[0] with { SourceFile = "other.png" }, images[0] with { Mirrored = true }];
        PreparedImage[] others =
        [
            images[0] with { Image = Picture(4, 2, 9) }, images[0] with { Caption = "other" }, images[0] with { Repeats = 2 },
            images[0] with { IsRegularization = true }, images[0] with { LossWeight = 0.5 }, images[0] with { IsRegularization = true, LossWeight = 0.5 },
        ];

        Assert.All(same, image => Assert.Equal(hash, Hash(image)));
        HashSet<string> hashes = [hash];
        Assert.All(others, image => Assert.True(hashes.Add(Hash(image))));
        Assert.True(hashes.Add(new PreparedDataset(images.Reverse()).ComputeHash()));

        // Of the whole picture is said what its pixels say.
        Assert.Equal(withOrigins, Hash(images[0] with { Origin = new ImageOrigin(4, 2, 0, 0) }, withOrigins: true));
        ImageOrigin[] origins = [new(5, 2, 0, 0), new(4, 3, 0, 0), new(4, 2, 1, 0), new(4, 2, 0, 1)];
        hashes = [withOrigins];
        Assert.All(origins, origin => Assert.True(hashes.Add(Hash(images[0] with { Origin = origin }, withOrigins: true))));
        Assert.All(origins, origin => Assert.Equal(hash, Hash(images[0] with { Origin = origin })));

        string Hash(PreparedImage first, bool withOrigins = false) => new PreparedDataset([first, .. images[1..]]).ComputeHash(withOrigins);
    }

    private static readonly ImageDatasetOptions Lenient = new() { RequireCaptions = false };

    private static DatasetFolder Folder() => new DatasetFolder().Image("a.png").Image("b.png", "red, é").Image("3_x/c.png", "blue")
        .Text("metadata.jsonl", """{"file_name": "b.png", "crop": [1, 2, 8, 9]}""");

    private static PreparedImage[] Prepared() =>
    [
        new("a", Picture(4, 2, 1), "red, é", "a.png"),
        new("b", Picture(4, 2, 2), "", "b.png", Repeats: 3) { Origin = new ImageOrigin(40, 30, 2, 0) },
        new("c", Picture(4, 2, 3), "blue", "c.png", Mirrored: true, Repeats: 300) { IsRegularization = true, LossWeight = 0.25 },
        new("d", Picture(4, 2, 4), "blue", "d.png") { LossWeight = 1e-7 },
    ];

    /// <summary>Width, height and repeats in four bytes each, the pixels, the caption and, where they are not the usual, weight and class.</summary>
    private static string Expected(PreparedImage[] images, bool withOrigins)
    {
        string[] weights = ["", "", "True 0.25\0", "False 1E-07\0"];
        string[] origins = ["4 2 0 0\0", "40 30 2 0\0", "4 2 0 0\0", "4 2 0 0\0"];
        var bytes = new List<byte>();
        foreach (var (i, image) in images.Index())
        {
            bytes.AddRange([4, 0, 0, 0, 2, 0, 0, 0, (byte)(image.Repeats % 256), (byte)(image.Repeats / 256), 0, 0, .. image.Image.Pixels]);
            bytes.AddRange(Encoding.UTF8.GetBytes($"{image.Caption}\0{weights[i]}{(withOrigins ? origins[i] : "")}"));
        }

        return Convert.ToHexStringLower(SHA256.HashData([.. bytes]));
    }
}

using System.Text.Json.Nodes;
using LoraNotebooks.Data;
using LoraNotebooks.Training;

namespace LoraNotebooks.Tests.Training;

public sealed class KohyaTrainingFactsTests
{
    [Theory]
    [InlineData(false, 3, "False")]
    [InlineData(true, 6, "True")]
    public void Of_MirroredSet_CountsPicturesOnceAndShowsThemTwiceAsOften(bool mirrored, int showings, string flips)
    {
        string[] names = ["a", "b", "c", "d"];
        var images = names.SelectMany(name => (PreparedImage[])
        [
            Image(name, mirrored: false),
            .. (PreparedImage[])(mirrored ? [Image(name, mirrored: true)] : []),
        ]);
        var dataset = new PreparedDataset(images);
        var config = new TrainingConfig { Name = "set", Epochs = 2, BatchSize = 5 };

        var facts = KohyaTrainingFacts.Of(config, TrainingPlan.For(config, dataset), dataset, steps: 2, DateTimeOffset.UnixEpoch);

        var folder = Assert.Single(JsonNode.Parse(facts["ss_dataset_dirs"])!.AsObject());
        Assert.Equal($"{showings}_set", folder.Key);
        Assert.Equal((showings, 4), ((int)folder.Value!["n_repeats"]!, (int)folder.Value["img_count"]!));
        Assert.Equal($"{showings * 4}", facts["ss_num_train_images"]);
        Assert.Equal(flips, facts["ss_flip_aug"]);
        Assert.Equal("""{"set":{"tag":4,"a":1,"b":1,"c":1,"d":1}}""", facts["ss_tag_frequency"]);
    }

    private static PreparedImage Image(string name, bool mirrored) =>
        new(mirrored ? $"{name}-mirrored" : name, new RgbImage(8, 8, new byte[192]), $"tag, {name}", $"{name}.png", mirrored, Repeats: 3);
}
